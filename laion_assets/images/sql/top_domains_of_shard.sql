-- In: $shard.  Out: its 20 domains with the most images: a bar, the images, and their share of its images in per cent.
SELECT
    domain,
    bar(count(*), 0, max(count(*)) OVER (), 20) AS bar,
    count(*) AS image_count,
    round(100 * image_count / sum(image_count) OVER (), 2) AS share_percent
FROM images
WHERE shard = $shard
GROUP BY domain
ORDER BY image_count DESC, domain
LIMIT 20
