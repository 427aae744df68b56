-- In: path, quoted.  Out: the columns of a parquet file.
DESCRIBE SELECT * FROM read_parquet({path}, binary_as_string = true, hive_partitioning = false)
