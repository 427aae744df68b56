-- In: $tables.  Out: those tables of counts that do not tell of the shards as they are loaded now.
SELECT table_name
FROM (SELECT unnest($tables::VARCHAR[]) AS table_name)
LEFT JOIN refreshes USING (table_name)
WHERE snapshot IS DISTINCT FROM (SELECT md5(coalesce(string_agg(load_id, ',' ORDER BY shard), '')) FROM shards)
ORDER BY table_name
