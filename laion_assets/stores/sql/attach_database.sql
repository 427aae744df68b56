-- In: {path} of a DuckDB file, quoted.  Out: its tables, as the database `laion`, to read.
ATTACH {path} AS laion (READ_ONLY)
