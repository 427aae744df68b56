-- In: $cleaning_version.
-- Out: shard, rows in `images`, rows in `rejected_images`, when it was loaded, whether these rules cleaned it, whether it is a sample.
SELECT shard, image_count, rejected_count, loaded_at, cleaning_version = $cleaning_version, is_sample FROM shards ORDER BY shard
