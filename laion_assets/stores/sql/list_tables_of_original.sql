-- Out: the tables of the database `original`.
SELECT table_name FROM duckdb_tables() WHERE database_name = 'original' AND NOT internal ORDER BY table_oid
