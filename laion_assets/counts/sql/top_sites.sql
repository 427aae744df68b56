-- Out: the 20 registered domains with the most images, their hosts, their share of all images in per cent, and a bar.
SELECT
    registered_domain,
    image_count,
    host_count,
    round(100 * image_count / sum(image_count) OVER (), 2) AS share_percent,
    bar(image_count, 0, max(image_count) OVER (), 20) AS bar
FROM site_counts
ORDER BY image_count DESC, registered_domain
LIMIT 20
