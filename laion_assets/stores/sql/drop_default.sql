-- In: {table}, {column}, quoted.  Out: the column without a default; the values that it gave stay.
ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT
