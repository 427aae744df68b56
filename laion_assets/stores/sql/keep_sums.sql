-- In: the name of the table, quoted; a statement sum_<table>.sql in brackets.  Out: the table of this connection alone, with
-- the rows of that statement.
CREATE TEMP TABLE {table} AS FROM {sums}
