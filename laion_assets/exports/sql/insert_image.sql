-- For SQLite.  In: {rows}, a `?` for each of the columns of `images` in their order, for each row.
INSERT INTO images VALUES {rows}
