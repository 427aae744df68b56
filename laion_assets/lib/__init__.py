"""Plain functions over files, DuckDB, Lance and text. Nothing here knows Dagster."""
