-- Out: of each shard, where its pictures came from, how many, their size, and when they were fetched.
SELECT
    shard,
    source,
    count(*) AS picture_count,
    sum(byte_count)::BIGINT AS byte_count,
    min(fetched_at) AS first_fetched_at,
    max(fetched_at) AS last_fetched_at
FROM pictures
WHERE source IS NOT NULL
GROUP BY shard, source
