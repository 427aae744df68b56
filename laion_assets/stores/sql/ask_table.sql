-- In: {table}. Out: no row; an error if there is no such table.
SELECT 1 FROM {table} WHERE FALSE
