-- In: {table} quoted.  Out: the table of `original`, with its rows in its order.
CREATE TABLE {table} AS SELECT * FROM original.main.{table}
