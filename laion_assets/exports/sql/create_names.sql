-- For SQLite.  In: {table} quoted, a kind of names.  Out: its empty table.
CREATE TABLE {table} (name TEXT NOT NULL, image_counts INTEGER NOT NULL)
