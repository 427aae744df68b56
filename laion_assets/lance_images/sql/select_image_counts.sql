-- Out: shard, rows that its load put into `images`.
SELECT shard, image_count FROM shards
