-- In: $shard.  Out: no row of that shard in `pictures`.
DELETE FROM pictures WHERE shard = $shard
