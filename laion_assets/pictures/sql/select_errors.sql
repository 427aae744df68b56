-- In: $shard.  Out: the first three rows of each status without a picture: status, row, what is wrong.
SELECT status, row_index, error_message
FROM pictures
WHERE shard = $shard AND status <> 'success' AND error_message IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY status ORDER BY row_index) <= 3
ORDER BY status, row_index
