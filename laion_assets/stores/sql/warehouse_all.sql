-- In: {table} quoted.  Out: its rows, in their order.
SELECT * FROM {table}
