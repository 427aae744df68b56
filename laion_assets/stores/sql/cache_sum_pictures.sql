-- In: digests as JSON.  Out: the bytes of the pictures that are known of them (SQLite).
SELECT coalesce(sum(length(picture)), 0) FROM fetched WHERE digest IN (SELECT value FROM json_each(?))
