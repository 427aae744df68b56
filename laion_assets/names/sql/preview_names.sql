-- In: {table} quoted, a kind's table.  Out: its first rows.
SELECT * FROM {table} LIMIT 8
