-- In: $shard.  Out: no row of that shard in `shard_figures`.
DELETE FROM shard_figures WHERE shard = $shard
