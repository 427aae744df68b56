-- For SQLite.  In: {table} quoted.  Out: it has no rows, so that SQLite can copy others as they are.
DELETE FROM main.{table}
