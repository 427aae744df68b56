-- Out: the vectors in the cache (SQLite).
SELECT count(*) FROM vectors
