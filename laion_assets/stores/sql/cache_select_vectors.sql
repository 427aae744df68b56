-- In: digests as JSON. Out: digest and vector of those that are known (SQLite).
SELECT digest, vector
FROM vectors
WHERE digest IN (SELECT value FROM json_each(?))
