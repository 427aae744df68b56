-- In: $shard.  Out: its rows, in the order of the file: columns that are added later are read from it row by row.
SELECT * FROM images WHERE shard = $shard ORDER BY row_index
