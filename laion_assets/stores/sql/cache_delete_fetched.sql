-- In: how many.  Out: the cache without its oldest pictures; that a URL has none stays known (SQLite).
DELETE FROM fetched
WHERE rowid IN (SELECT rowid FROM fetched WHERE picture IS NOT NULL ORDER BY rowid LIMIT ?)
