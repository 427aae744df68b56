-- For SQLite.  In: the first and the last id.  Out: the captions of these images in the full-text index.
INSERT INTO images_fts (rowid, text) SELECT id, text FROM images WHERE id BETWEEN ? AND ?
