"""LAION parquet shards as Dagster assets: DuckDB tables, exact counts, a versioned Lance table."""
