-- For SQLite.  Out: a number that changes with the tables; the first page is read for it.
PRAGMA schema_version
