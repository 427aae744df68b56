-- In: {are_theirs}, a predicate of shards.  Out: `shard_domains` with the images of each domain in each of these shards
-- that it does not have yet.
INSERT INTO shard_domains BY NAME
SELECT shard, domain, registered_domain, count(*) AS image_count
FROM images
ANTI JOIN (SELECT DISTINCT shard FROM shard_domains WHERE {are_theirs}) USING (shard)
WHERE {are_theirs}
GROUP BY shard, domain, registered_domain
