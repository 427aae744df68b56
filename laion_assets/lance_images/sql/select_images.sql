-- In: $shard.  Out: its rows, in no order; `row_index` tells it.
SELECT * FROM images WHERE shard = $shard
