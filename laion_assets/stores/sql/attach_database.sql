-- In: {path} of a DuckDB file, quoted; {mode}: READ_ONLY or READ_WRITE.  Out: its tables, as the database `laion`.
ATTACH {path} AS laion ({mode})
