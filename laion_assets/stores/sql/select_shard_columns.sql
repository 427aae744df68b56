-- Out: what is noted of every set of columns of every shard; see columns.NotedColumns.
SELECT shard, column_set, load_id, made_from, value_count, data_bytes, digest, lance_version, run_id, made_at
FROM shard_columns
ORDER BY shard, column_set
