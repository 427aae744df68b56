-- Out: the sums of `site_counts`, the rows of `images`, and the different hosts of all shards.
SELECT
    (SELECT coalesce(sum(image_count), 0)::BIGINT FROM site_counts) AS counted,
    (SELECT coalesce(sum(host_count), 0)::BIGINT FROM site_counts) AS counted_hosts,
    (SELECT count(*) FROM images) AS images,
    (SELECT count(DISTINCT domain) FROM shard_domains) AS hosts
