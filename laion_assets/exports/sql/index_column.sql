-- For SQLite.  In: {column}, a column of `images`.  Out: its index, for facets, filters and sorting.
CREATE INDEX idx_images_{column} ON images ({column})
