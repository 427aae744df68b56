-- In: {path} quoted.  Out: the rows that the footer claims, and how the columns are encrypted, NULL if they are not.
SELECT num_rows, encryption_algorithm FROM parquet_file_metadata({path})
