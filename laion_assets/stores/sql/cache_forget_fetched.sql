-- In: a digest.  Out: nothing is known of its URL (SQLite).
DELETE FROM fetched WHERE digest = ?
