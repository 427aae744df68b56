-- Out: of each shard, where its pictures came from, how many, and their size.
SELECT shard, source, count(*) AS picture_count, sum(byte_count)::BIGINT AS byte_count
FROM pictures
WHERE source IS NOT NULL
GROUP BY shard, source
ORDER BY shard, source
