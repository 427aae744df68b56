-- In: {table}, which is empty, and {stored}, quoted: a table of Lance that DuckDB knows.  Out: its rows in the table.
INSERT INTO {table} BY NAME FROM {stored}
