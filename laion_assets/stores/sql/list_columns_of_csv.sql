-- In: path, quoted.  Out: the columns of a CSV file, as its first line names them.
DESCRIBE SELECT * FROM read_csv({path}, header = true, all_varchar = true)
