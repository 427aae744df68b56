-- For SQLite.  Fails unless the full-text index is sound and has the captions of `images`.
INSERT INTO images_fts (images_fts, rank) VALUES ('integrity-check', 1)
