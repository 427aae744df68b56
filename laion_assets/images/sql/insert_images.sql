-- In: $shard, the view `source`.  Out: its good rows in `images`.
INSERT INTO images BY NAME
SELECT *, image_id(url, caption) AS image_id, $shard AS shard
FROM (SELECT *, url_host(url) AS domain FROM source)
WHERE rejection_reason(url, domain, caption) IS NULL
