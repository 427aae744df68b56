-- In: $shard.  Out: its present load, if Lance has it.
SELECT load_id FROM shards WHERE shard = $shard AND lance_version IS NOT NULL
