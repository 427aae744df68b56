-- In: $domains.  Out: shard, domain, its rows there.
SELECT shard, domain, count(*) AS row_count
FROM images
WHERE domain IN (SELECT unnest($domains::VARCHAR[]))
GROUP BY ALL
