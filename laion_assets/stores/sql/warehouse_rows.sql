-- In: {table} quoted, $shard.  Out: the rows of the shard.
SELECT * FROM {table} WHERE shard = $shard
