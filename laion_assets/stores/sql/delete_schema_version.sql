-- Out: no version of the schema is noted.
DELETE FROM schema_version
