-- In: $table_name, $names_sha256.  Out: whether the table of counts tells of the shards as they are loaded now, and
-- of those names.
SELECT count(*) > 0
FROM refreshes
WHERE table_name = $table_name
    AND names_sha256 IS NOT DISTINCT FROM $names_sha256
    AND snapshot = (SELECT md5(coalesce(string_agg(load_id, ',' ORDER BY shard), '')) FROM shards)
