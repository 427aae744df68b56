-- In: $shard.  Out: no row of that shard in `rejected_images`.
DELETE FROM rejected_images WHERE shard = $shard
