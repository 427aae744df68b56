-- In: $column_set.  Out: the notes of these columns say of no shard that Lance has them.
UPDATE shard_columns SET lance_version = NULL WHERE column_set = $column_set
