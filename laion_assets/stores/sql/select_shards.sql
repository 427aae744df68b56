-- Out: the shards that are loaded.
SELECT shard FROM shards
