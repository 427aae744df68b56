-- In: $cleaning_version.  Out: the shards that other rules cleaned, and the load's id.
SELECT shard, load_id FROM shards WHERE cleaning_version <> $cleaning_version ORDER BY shard
