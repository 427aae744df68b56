-- For SQLite.  In: {table} quoted, a kind of names; name, the images that match it.
INSERT INTO {table} (name, image_counts) VALUES (?, ?)
