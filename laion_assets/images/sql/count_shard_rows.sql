-- In: $shard.  Out: its rows in `images`, and in `rejected_images`.
SELECT
    (SELECT count(*) FROM images WHERE shard = $shard) AS image_count,
    (SELECT count(*) FROM rejected_images WHERE shard = $shard) AS rejected_count
