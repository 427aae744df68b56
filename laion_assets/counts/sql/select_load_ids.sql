-- Out: shard, load_id; by shard.
SELECT shard, load_id FROM shards ORDER BY shard
