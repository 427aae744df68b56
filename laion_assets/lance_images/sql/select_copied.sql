-- Out: the shards whose present load Lance has had.
SELECT shard FROM shards WHERE lance_version IS NOT NULL
