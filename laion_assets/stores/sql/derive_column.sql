-- In: {table}, its column {column} of the type {type}, an expression {value} over the other columns.
-- Out: the value in every row.
ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {type} USING ({value})
