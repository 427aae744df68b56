-- In: $kind.  Out: what is known of the kind's table; none if it has none.
SELECT location, sha256, etag, name_header, name_count, previous_count, repeated, blank_count,
    error_count, reading_version
FROM sheets
WHERE kind = $kind AND kind IN (SELECT table_name FROM duckdb_tables())
