-- In: $shard.  Out: no row of that shard in `shards`.
DELETE FROM shards WHERE shard = $shard
