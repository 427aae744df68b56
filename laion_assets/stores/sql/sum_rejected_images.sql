-- Out: the shards of which rows are on the list of removals, and how many.
SELECT shard, count(*) AS removed_count
FROM rejected_images
WHERE reason = 'removed'
GROUP BY shard
