-- Out: the shards with images that `shard_domains` has none of.
SELECT shard
FROM shards
ANTI JOIN (SELECT DISTINCT shard FROM shard_domains) USING (shard)
WHERE image_count > 0
ORDER BY shard
