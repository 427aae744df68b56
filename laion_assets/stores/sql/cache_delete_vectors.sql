-- In: how many.  Out: the cache without its oldest vectors (SQLite).
DELETE FROM vectors WHERE rowid IN (SELECT rowid FROM vectors ORDER BY rowid LIMIT ?)
