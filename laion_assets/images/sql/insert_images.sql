-- In: $shard, {split} as an expression over image_id, the view `source`, in `hosts` the host and the registered domain of each rough authority of its URLs.
-- Out: its good rows in `images`.
INSERT INTO images BY NAME
SELECT source.* EXCLUDE (authority), domain, registered_domain, image_id(url, caption) AS image_id, {split} AS split, $shard AS shard
FROM (SELECT *, rough_authority(url) AS authority FROM source) AS source
LEFT JOIN hosts USING (authority)
WHERE rejection_reason(url, domain, caption) IS NULL
