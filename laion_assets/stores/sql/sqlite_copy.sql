-- For SQLite.  In: {table} quoted, in both files.  Out: the rows of the other file.
INSERT INTO main.{table} SELECT * FROM other.{table}
