-- In: {table} and {stored}, quoted: a table of Lance that DuckDB knows.  Out: its rows under the name of the table.
CREATE VIEW {table} AS FROM {stored}
