-- Out: the tables of the warehouse that are not views.
SELECT table_name FROM duckdb_tables() WHERE database_name = 'laion' ORDER BY table_name
