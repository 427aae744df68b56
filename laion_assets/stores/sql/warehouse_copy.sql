-- In: {table} and {stored}, quoted: a table of Lance that DuckDB knows.  Out: a table with its rows, in their order.
CREATE TABLE {table} AS FROM {stored}
