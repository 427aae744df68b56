-- Out: the shards whose rows in `images` and `rejected_images` are not those of their file, or that have other images by
-- domain: shard, rows of the file, images, rejected, images by domain.
SELECT
    coalesce(shards.shard, counted.shard) AS shard,
    coalesce(file_rows, 0) AS file_rows,
    coalesce(images, 0) AS images,
    coalesce(rejected, 0) AS rejected,
    coalesce(of_domains, 0) AS of_domains
FROM shards
FULL JOIN (
    SELECT
        shard,
        sum(images)::BIGINT AS images,
        sum(rejected)::BIGINT AS rejected,
        sum(of_domains)::BIGINT AS of_domains
    FROM (
        SELECT shard, count(*) AS images, 0 AS rejected, 0 AS of_domains FROM images GROUP BY shard
        UNION ALL
        SELECT shard, 0, count(*), 0 FROM rejected_images GROUP BY shard
        UNION ALL
        SELECT shard, 0, 0, sum(image_count) FROM shard_domains GROUP BY shard
    )
    GROUP BY shard
) AS counted ON counted.shard = shards.shard
WHERE coalesce(file_rows, 0) <> coalesce(images, 0) + coalesce(rejected, 0)
    OR coalesce(image_count, 0) <> coalesce(images, 0)
    OR coalesce(images, 0) <> coalesce(of_domains, 0)
ORDER BY shard
