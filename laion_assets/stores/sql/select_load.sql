-- In: $shard.  Out: its load, the checksum of its file, its rows in `images`, the rows of the file; none if it is not
-- loaded.
SELECT load_id, sha256, image_count, file_rows FROM shards WHERE shard = $shard
