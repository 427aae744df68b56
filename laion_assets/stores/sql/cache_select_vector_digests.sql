-- In: digests as JSON. Out: those that are known (SQLite).
SELECT digest
FROM vectors
WHERE digest IN (SELECT value FROM json_each(?))
