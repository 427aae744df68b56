-- For SQLite.  In: row number, text.
INSERT INTO probe (rowid, text) VALUES (?, ?)
