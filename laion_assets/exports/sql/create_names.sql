-- For SQLite.  In: {table} quoted, a kind of names; {columns}, the definitions of the list's other columns.  Out: its empty table.
CREATE TABLE {table} (name TEXT NOT NULL, {columns}image_counts INTEGER NOT NULL)
