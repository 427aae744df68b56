-- In: $shard.  Out: of the sites with the most rows that were asked for, how many gave a picture.
SELECT
    registered_domain,
    count(*) AS asked,
    count(*) FILTER (source = 'fetched') AS got,
    round(100 * (1 - count(*) FILTER (source = 'fetched') / count(*)), 1) AS dead_percent
FROM pictures
JOIN images USING (shard, row_index)
WHERE shard = $shard AND (source = 'fetched' OR reason IS NOT NULL)
GROUP BY registered_domain
ORDER BY asked DESC, registered_domain
LIMIT 20
