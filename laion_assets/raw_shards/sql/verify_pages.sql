-- Decodes every page of the columns that are read, and keeps nothing.
-- In: {counts} of those columns, {path} quoted, {validation}: 'strict' fails at bytes that are no UTF-8, 'ignore' leaves
-- them out. Out: the number of rows, then what is not NULL in each column.
-- The optimizer must not take the counts from the statistics in the footer: see `parquet_file.py`.
SELECT count(*), {counts}
FROM read_parquet({path}, binary_as_string = true, utf8_validation = {validation}, hive_partitioning = false)
