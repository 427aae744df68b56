-- Two processes may have computed the same (SQLite).
INSERT OR REPLACE INTO vectors
VALUES (?, ?)
