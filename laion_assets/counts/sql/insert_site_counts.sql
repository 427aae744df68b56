-- Out: `site_counts` with the images and hosts of each registered domain, the largest first.
-- A row of an older version, without a registered domain, counts for its host until its shard is loaded again.
-- Adding up the images of each host first takes less than counting different hosts.
INSERT INTO site_counts
SELECT site, sum(image_count)::BIGINT AS image_count, count(*) AS host_count
FROM (
    SELECT coalesce(registered_domain, domain) AS site, domain, sum(image_count) AS image_count
    FROM shard_domains
    GROUP BY site, domain
)
GROUP BY site
ORDER BY image_count DESC, site
