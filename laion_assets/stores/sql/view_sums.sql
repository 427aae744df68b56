-- In: the name of the view, quoted; a statement sum_<table>.sql.  Out: the view, with the rows of that statement.
CREATE OR REPLACE TEMP VIEW {view} AS {sums}
