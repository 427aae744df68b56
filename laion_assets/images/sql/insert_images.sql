-- In: $shard, the view `source`, the registered domain of each of its hosts in `hosts`.  Out: its good rows in `images`.
INSERT INTO images BY NAME
SELECT source.*, registered_domain, image_id(url, caption) AS image_id, $shard AS shard
FROM (SELECT *, url_host(url) AS domain FROM source) AS source
LEFT JOIN hosts USING (domain)
WHERE rejection_reason(url, domain, caption) IS NULL
