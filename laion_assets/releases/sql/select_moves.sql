-- In: {keys} quoted, $sign (1: risers, -1: fallers), $top.  Out: those that moved most: the keys, both counts.
SELECT {keys}, before_count, after_count
FROM moves
WHERE change * $sign > 0
ORDER BY change * $sign DESC, {keys}
LIMIT $top
