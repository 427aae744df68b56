-- In: $cleaning_version.
-- Out: shard, rows in `images`, rows in `rejected_images`, when it was loaded, whether these rules cleaned it.
SELECT shard, image_count, rejected_count, loaded_at, cleaning_version = $cleaning_version FROM shards ORDER BY shard
