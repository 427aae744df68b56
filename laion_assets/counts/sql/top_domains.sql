-- Out: the 20 domains with the most images, their share of all images in per cent, and a bar.
SELECT
    domain,
    image_count,
    round(100 * image_count / sum(image_count) OVER (), 2) AS share_percent,
    bar(image_count, 0, max(image_count) OVER (), 20) AS bar
FROM domain_counts
ORDER BY image_count DESC, domain
LIMIT 20
