-- In: $shard, $column_set.  Out: no note of these columns of the shard.
DELETE FROM shard_columns WHERE shard = $shard AND column_set = $column_set
