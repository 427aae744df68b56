-- In: {table} quoted, which is there.  Out: the rows of the table of `original`, in its order.
INSERT INTO {table} BY NAME SELECT * FROM original.main.{table}
