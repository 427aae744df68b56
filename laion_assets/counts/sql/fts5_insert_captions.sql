-- For SQLite.  In: row number (a table that keeps no content needs it), caption.
INSERT INTO captions (rowid, caption) VALUES (?, ?)
