-- For SQLite.  Out: the empty table `domain`, one row for each host.
CREATE TABLE domain (
    id INTEGER PRIMARY KEY,
    domain TEXT NOT NULL,
    image_counts INTEGER NOT NULL
)
