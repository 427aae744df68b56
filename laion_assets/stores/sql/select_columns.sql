-- In: $table.  Out: its columns, in their order: name, type, whether it can be NULL.
SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = $table ORDER BY column_index
