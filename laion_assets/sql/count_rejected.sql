-- In: $shard.  Out: reason, rows; the most frequent first.
SELECT reason, count(*) AS row_count
FROM rejected_images
WHERE shard = $shard
GROUP BY reason
ORDER BY row_count DESC, reason
