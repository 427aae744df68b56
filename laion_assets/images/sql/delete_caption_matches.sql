-- In: $shard.  Out: no row of that shard in `caption_matches`.
DELETE FROM caption_matches WHERE shard = $shard
