-- Out: the sum of `domain_counts`, the rows of `images`, and the rows that the loads of all shards noted.
SELECT
    (SELECT coalesce(sum(image_count), 0)::BIGINT FROM domain_counts) AS counted,
    (SELECT count(*) FROM images) AS images,
    (SELECT coalesce(sum(image_count), 0)::BIGINT FROM shards) AS loaded
