-- In: $shard.  Out: its rows in the order of the file, which is the order in which they were inserted.
SELECT * FROM images WHERE shard = $shard
