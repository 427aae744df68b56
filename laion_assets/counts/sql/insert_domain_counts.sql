-- Out: `domain_counts` with the images of each domain, the largest first.
INSERT INTO domain_counts
SELECT domain, count(*) AS image_count
FROM images
GROUP BY domain
ORDER BY image_count DESC, domain
