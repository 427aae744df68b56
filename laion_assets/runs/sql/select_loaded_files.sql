-- In: $cleaning_version.
-- Out: the shards that are loaded, the load's id, the checksum of its file, whether these rules cleaned it, how many of
-- its rows are on the list of removals.
SELECT shard, load_id, sha256, cleaning_version = $cleaning_version, coalesce(removed_count, 0)
FROM shards
LEFT JOIN (
    SELECT shard, count(*) AS removed_count FROM rejected_images WHERE reason = 'removed' GROUP BY shard
) USING (shard)
ORDER BY shard
