-- For SQLite.  Merges the full-text index into one part: each search reads one.
INSERT INTO images_fts (images_fts) VALUES ('optimize')
