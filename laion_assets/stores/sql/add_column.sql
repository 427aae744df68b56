-- In: {table} quoted, {definition} as generated from schemas.py.  Out: the table with the column, added if missing.
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {definition}
