-- In: $shard.  Out: its 20 domains with the most images: a bar, the images, and their share of its images in per cent.
SELECT
    domain,
    bar(image_count, 0, max(image_count) OVER (), 20) AS bar,
    image_count,
    round(100 * image_count / sum(image_count) OVER (), 2) AS share_percent
FROM shard_domains
WHERE shard = $shard
ORDER BY image_count DESC, domain
LIMIT 20
