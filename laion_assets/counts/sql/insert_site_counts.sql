-- Out: `site_counts` with the images and hosts of each registered domain, the largest first.
-- A row of an older version, without a registered domain, counts for its host until its shard is loaded again.
INSERT INTO site_counts
SELECT coalesce(registered_domain, domain) AS site, count(*) AS image_count, count(DISTINCT domain) AS host_count
FROM images
GROUP BY site
ORDER BY image_count DESC, site
