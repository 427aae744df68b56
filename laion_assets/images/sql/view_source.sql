-- Maps the columns of a shard's parquet file to ours; a column that it lacks is NULL.
-- In: {columns} as generated from schemas.py, {path} quoted.  Out: the view `source`.
-- Texts that the file does not mark as such, but as bytes, are texts too.
CREATE OR REPLACE TEMP VIEW source AS
SELECT {columns}, file_row_number AS row_index
FROM read_parquet({path}, file_row_number = true, binary_as_string = true, hive_partitioning = false)
