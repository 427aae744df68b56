-- In: {column} quoted, the MD5 of the pictures; {path} quoted; $digests in small letters.
-- Out: row_index, digest of the rows of the parquet file whose picture is on the list of removals.
SELECT file_row_number AS row_index, lower({column}) AS digest
FROM read_parquet({path}, file_row_number = true, binary_as_string = true, hive_partitioning = false)
WHERE lower({column}) IN (SELECT unnest($digests::VARCHAR[]))
