-- For SQLite.  Out: the empty table `images`. `hash` is text, because browsers round such large numbers.
CREATE TABLE images (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL,
    text TEXT NOT NULL,
    width INTEGER,
    height INTEGER,
    similarity FLOAT,
    punsafe FLOAT,
    pwatermark FLOAT,
    aesthetic FLOAT,
    hash TEXT,
    domain_id INTEGER NOT NULL REFERENCES domain (id),
    shard TEXT NOT NULL,
    row_index INTEGER NOT NULL
)
