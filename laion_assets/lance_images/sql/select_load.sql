-- In: $shard.  Out: its load, the checksum of its file, its rows in `images`; none if it is not loaded.
SELECT load_id, sha256, image_count FROM shards WHERE shard = $shard
