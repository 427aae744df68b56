-- In: $shard.  Out: rows that repeat an earlier one's URL and caption, and the number of domains.
SELECT count(*) - count(DISTINCT image_id) AS repeated_count, count(DISTINCT domain) AS domain_count
FROM images
WHERE shard = $shard
