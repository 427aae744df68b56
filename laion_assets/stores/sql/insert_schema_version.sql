-- In: $version.  Out: the version of the schema is noted.
INSERT INTO schema_version VALUES ($version)
