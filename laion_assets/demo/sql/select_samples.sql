-- Out: the shards whose rows are invented.
SELECT shard FROM shards WHERE is_sample
