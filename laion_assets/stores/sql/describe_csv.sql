-- In: path and column, quoted.  Out: the type that all values of the column have.
DESCRIBE SELECT {column} FROM read_csv({path}, header = true, sample_size = -1)
