-- Out: the pictures in the cache (SQLite).
SELECT count(*) FROM fetched WHERE picture IS NOT NULL
