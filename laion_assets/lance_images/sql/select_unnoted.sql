-- Out: the shards whose present load Lance has not had, and the load's id.
SELECT shard, load_id FROM shards WHERE lance_version IS NULL ORDER BY shard
