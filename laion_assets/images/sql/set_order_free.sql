-- Lets DuckDB insert rows in any order; `row_index` tells where they stood. Kept in order, the small row groups of a
-- parquet file become small ones of the table, which the checkpoint then writes a second time.
SET preserve_insertion_order = false
