-- Out: shard, rows in `images`, rows in `rejected_images`, when it was loaded.
SELECT shard, image_count, rejected_count, loaded_at FROM shards ORDER BY shard
