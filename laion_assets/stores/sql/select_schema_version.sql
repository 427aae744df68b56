-- Out: the version of the schema of these tables; NULL: none is noted.
SELECT max(version) FROM schema_version
