-- In: {table}, {column}, quoted.  Out: the column without NULL.
ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL
