-- In: {table} quoted, {columns} as generated from schemas.py.  Out: the table, created if missing.
CREATE TABLE IF NOT EXISTS {table} ({columns})
