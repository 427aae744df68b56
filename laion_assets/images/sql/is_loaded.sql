-- In: $shard, $sha256, $removed_count (rows that were removed from the file), $cleaning_version.
-- Out: whether this content of the shard, cleaned by these rules, is in DuckDB and has been copied to Lance.
SELECT count(*) > 0
FROM shards
WHERE shard = $shard AND sha256 = $sha256 AND cleaning_version = $cleaning_version AND lance_version IS NOT NULL
    AND $removed_count = (SELECT count(*) FROM rejected_images WHERE shard = $shard AND reason = 'removed')
