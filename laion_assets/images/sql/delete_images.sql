-- In: $shard.  Out: no row of that shard in `images`.
DELETE FROM images WHERE shard = $shard
