-- In: {path} quoted, a DuckDB file; {mode} READ_WRITE or READ_ONLY; {name} under which it is attached.
ATTACH {path} AS {name} ({mode})
