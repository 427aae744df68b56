-- In: {score} quoted, {name} of it quoted, $shard, $low, $high.  Out: the first three rows whose score is out of range.
SELECT {name} AS score, {score}::VARCHAR AS value, shard, row_index, caption
FROM images
WHERE shard = $shard AND {score} NOT BETWEEN $low AND $high
ORDER BY row_index
LIMIT 3
