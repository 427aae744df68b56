-- Out: the revision that Alembic noted for Dagster's history (SQLite); no such table, if it did not.
SELECT version_num FROM alembic_version
