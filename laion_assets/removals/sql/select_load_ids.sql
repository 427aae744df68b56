-- Out: shard and the id of its present load.
SELECT shard, load_id FROM shards
