-- What became of each URL that was asked for a picture (SQLite); the digest is of URL and size.
CREATE TABLE IF NOT EXISTS fetched (
    digest TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    message TEXT,
    is_passing INTEGER NOT NULL,
    http_status INTEGER,
    final_url TEXT,
    seconds REAL NOT NULL,
    received_bytes INTEGER NOT NULL,
    fetched_at TEXT NOT NULL,
    md5 TEXT,
    picture BLOB,
    width INTEGER,
    height INTEGER,
    original_width INTEGER,
    original_height INTEGER,
    exif TEXT
)
