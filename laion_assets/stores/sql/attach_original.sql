-- In: {path} quoted, a DuckDB file; {mode}: READ_ONLY or READ_WRITE.  Out: its tables, as the database `original`.
ATTACH {path} AS original ({mode})
