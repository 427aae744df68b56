-- In: $shard.  Out: no row of that shard in `shard_domains`.
DELETE FROM shard_domains WHERE shard = $shard
