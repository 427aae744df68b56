-- Out: the shards with rows whose picture may be had another time, and how many.
SELECT shard, count(*) AS row_count
FROM pictures
WHERE is_passing
GROUP BY shard
ORDER BY shard
