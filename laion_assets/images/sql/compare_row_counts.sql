-- Out: the shards whose rows in `images` and `rejected_images` are not those of their file: shard, rows of the file,
-- images, rejected.
SELECT
    coalesce(shards.shard, counted.shard) AS shard,
    coalesce(file_rows, 0) AS file_rows,
    coalesce(images, 0) AS images,
    coalesce(rejected, 0) AS rejected
FROM shards
FULL JOIN (
    SELECT shard, sum(images)::BIGINT AS images, sum(rejected)::BIGINT AS rejected
    FROM (
        SELECT shard, count(*) AS images, 0 AS rejected FROM images GROUP BY shard
        UNION ALL
        SELECT shard, 0, count(*) FROM rejected_images GROUP BY shard
    )
    GROUP BY shard
) AS counted ON counted.shard = shards.shard
WHERE coalesce(file_rows, 0) <> coalesce(images, 0) + coalesce(rejected, 0)
    OR coalesce(image_count, 0) <> coalesce(images, 0)
ORDER BY shard
