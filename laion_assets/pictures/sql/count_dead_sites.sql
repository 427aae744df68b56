-- In: $shard, $refusals: reasons.  Out: of the sites with the most rows that were asked for, how many gave a picture, how
-- many may not be asked, and the share of the rest, in per cent of all.
SELECT
    registered_domain,
    count(*) AS asked,
    -- count_if of nothing but NULL is NULL.
    count(*) FILTER (source = 'fetched') AS got,
    count(*) FILTER (list_contains($refusals, reason)) AS refused,
    round(100 * (asked - got - refused) / asked, 1) AS dead_percent
FROM pictures
JOIN images USING (shard, row_index)
WHERE shard = $shard AND (source = 'fetched' OR reason IS NOT NULL)
GROUP BY registered_domain
ORDER BY asked DESC, registered_domain
LIMIT 20
