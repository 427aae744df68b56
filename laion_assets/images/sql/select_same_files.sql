-- Out: the files that are there under several names: SHA-256, how many, the shards.
SELECT sha256, count(*) AS shard_count, string_agg(shard, ', ' ORDER BY shard) AS shards
FROM shards
GROUP BY sha256
HAVING count(*) > 1
ORDER BY shard_count DESC, sha256
