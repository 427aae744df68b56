-- In: $shard.  Out: why rows have no picture, by reason and HTTP status, the commonest first.
SELECT reason, http_status, count(*) AS row_count
FROM pictures
WHERE shard = $shard AND reason IS NOT NULL
GROUP BY reason, http_status
ORDER BY row_count DESC, reason, http_status
LIMIT 20
