-- Out: the 20 domains with the most images, and their share of all images in per cent.
SELECT domain, image_count, round(100 * image_count / sum(image_count) OVER (), 2) AS share_percent
FROM domain_counts
ORDER BY image_count DESC, domain
LIMIT 20
