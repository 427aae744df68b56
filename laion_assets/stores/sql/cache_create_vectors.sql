-- Vectors that encoders made (SQLite); the digest is of encoder and picture. NULL: there is none.
CREATE TABLE IF NOT EXISTS vectors (
    digest TEXT NOT NULL PRIMARY KEY,
    vector BLOB
)
