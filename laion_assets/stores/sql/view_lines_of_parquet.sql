-- In: path, key and value, quoted.  Out: the view `lines`: key, value and number of each row.
CREATE OR REPLACE TEMP VIEW lines AS
SELECT {key} AS key, {value} AS value, file_row_number AS line
FROM read_parquet({path}, file_row_number = true, binary_as_string = true, hive_partitioning = false)
