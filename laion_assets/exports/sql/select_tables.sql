-- For SQLite.  Out: the names of all tables, those inside the full-text index included.
SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name
