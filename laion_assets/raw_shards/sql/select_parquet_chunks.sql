-- In: {path} quoted.  Out: of each chunk of each row group its column, codec, values, and the rows of the group.
SELECT row_group_id, path_in_schema, compression, num_values, row_group_num_rows
FROM parquet_metadata({path})
ORDER BY row_group_id, column_id
