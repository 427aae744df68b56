-- In: $names_sha256.  Out: the tables of counts that tell of the shards as they are loaded now, and `entity_counts` only if
-- it tells of those names.
SELECT table_name
FROM refreshes
WHERE names_sha256 IS NOT DISTINCT FROM CASE WHEN table_name = 'entity_counts' THEN $names_sha256 END
    AND snapshot = (SELECT md5(coalesce(string_agg(load_id, ',' ORDER BY shard), '')) FROM shards)
