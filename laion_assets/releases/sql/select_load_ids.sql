-- Out: the present load of each shard that Lance has.
SELECT shard, load_id FROM shards WHERE lance_version IS NOT NULL
