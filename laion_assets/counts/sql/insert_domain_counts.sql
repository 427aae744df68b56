-- Out: `domain_counts` with the images of each domain, the largest first.
INSERT INTO domain_counts
SELECT domain, sum(image_count)::BIGINT AS image_count
FROM shard_domains
GROUP BY domain
ORDER BY image_count DESC, domain
