-- In: {table} quoted, a kind's table.  Out: its names with the other columns of the list.
SELECT * FROM {table}
