-- The URLs that need not be asked for again (SQLite).
SELECT url
FROM fetched
WHERE
    digest IN (SELECT value FROM json_each($digests))
    AND (NOT $is_retry OR NOT is_passing)
