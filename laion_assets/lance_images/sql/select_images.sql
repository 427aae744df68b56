-- In: $shard, $first, $end.  Out: its rows from position $first up to $end, in the order of the file: columns that are
-- added later are read from it row by row.
SELECT * FROM images
WHERE shard = $shard AND row_index >= $first AND row_index < $end
ORDER BY row_index
