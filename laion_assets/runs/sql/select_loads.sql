-- Out: shard, rows in `images`, rows in `rejected_images`, when it was loaded, whether it is a sample.
SELECT shard, image_count, rejected_count, loaded_at, is_sample FROM shards ORDER BY shard
