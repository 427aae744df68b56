-- Out: whether Dagster has made its tables in this database.
SELECT to_regclass('runs') IS NOT NULL
