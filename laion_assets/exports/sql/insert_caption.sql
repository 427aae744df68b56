-- For SQLite.  In: id and caption of an image.  Out: its words in the full-text index.
INSERT INTO images_fts (rowid, text) VALUES (?, ?)
