-- For SQLite.  In: {table} quoted.  Out: its rows.
SELECT count(*) FROM {table}
