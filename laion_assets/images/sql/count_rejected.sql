-- In: $shard.  Out: reason, rows.
SELECT reason, count(*) AS row_count
FROM rejected_images
WHERE shard = $shard
GROUP BY reason
