-- In: the name of the view, quoted; a statement sum_<table>.sql, or what has its rows.  Out: the view, with these rows.
CREATE OR REPLACE TEMP VIEW {view} AS {sums}
