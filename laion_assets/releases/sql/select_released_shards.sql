-- Out: what a release says of each shard, by name; see manifest.ReleasedShard.
SELECT
    shards.shard,
    coalesce(origin_sha256, sha256) AS sha256,
    source,
    file_bytes,
    file_rows,
    image_count,
    rejected_count,
    coalesce(id_sum, 0)::VARCHAR AS id_sum,
    cleaning_version,
    lance_version,
    run_id,
    loaded_at,
    is_sample,
    coalesce(removed_count, 0) AS removed_count
FROM shards
LEFT JOIN (SELECT shard, sum(image_id::HUGEINT) AS id_sum FROM images GROUP BY shard) AS sums
    ON sums.shard = shards.shard
LEFT JOIN (
    SELECT shard, count(*) AS removed_count FROM rejected_images WHERE reason = 'removed' GROUP BY shard
) AS removed
    ON removed.shard = shards.shard
ORDER BY shards.shard
