-- Out: a word for the shards as DuckDB and Lance have them now, NULL without any.
SELECT md5(string_agg(concat(load_id, ':', lance_version), ',' ORDER BY shard)) FROM shards
