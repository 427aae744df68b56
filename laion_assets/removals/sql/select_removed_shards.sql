-- Out: shard and the time of its present load, of the shards of which rows were removed.
SELECT shard, loaded_at
FROM shards
WHERE shard IN (SELECT shard FROM rejected_images WHERE reason = 'removed')
