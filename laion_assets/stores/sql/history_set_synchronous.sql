-- Dagster's history (SQLite) does not wait for the disk after each event, only before its log is taken over.
PRAGMA synchronous = NORMAL
