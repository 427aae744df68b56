-- In: $column_set.  Out: no note of these columns of any shard.
DELETE FROM shard_columns WHERE column_set = $column_set
