-- In: $shard.  Out: no note of any columns of the shard.
DELETE FROM shard_columns WHERE shard = $shard
