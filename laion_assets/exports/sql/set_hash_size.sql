-- For SQLite.  Lets the full-text index collect 64 MiB in memory before it writes: fewer parts to merge.
INSERT INTO images_fts (images_fts, rank) VALUES ('hashsize', 67108864)
