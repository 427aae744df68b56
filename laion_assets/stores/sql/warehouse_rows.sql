-- In: {table} and its {columns}, quoted; $shard.  Out: the rows of the shard.
SELECT {columns} FROM {table} WHERE shard = $shard
