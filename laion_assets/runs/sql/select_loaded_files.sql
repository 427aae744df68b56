-- In: $cleaning_version; the sums of `rejected_images` by shard, as `name_sums` names them.
-- Out: the shards that are loaded, the load's id, the checksum of its file, whether these rules cleaned it, how many of
-- its rows are on the list of removals.
SELECT shard, load_id, sha256, cleaning_version = $cleaning_version, coalesce(removed_count, 0)
FROM shards
LEFT JOIN (SELECT shard, removed_count FROM {rejected_images}) USING (shard)
ORDER BY shard
