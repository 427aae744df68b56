-- In: $shard.  Out: each status, its rows, the bytes of their pictures.
SELECT status, count(*) AS row_count, coalesce(sum(byte_count), 0)::BIGINT AS byte_count
FROM pictures
WHERE shard = $shard
GROUP BY status
ORDER BY row_count DESC, status
