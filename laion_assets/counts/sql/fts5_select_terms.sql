-- For SQLite.  Out: row number, word; in the order of the text.
SELECT doc, term FROM terms ORDER BY doc, offset
