-- For SQLite.  In: {table} quoted, a kind of names; {values}, a `?` for each of its columns.
INSERT INTO {table} VALUES ({values})
