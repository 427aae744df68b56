-- In: {table} quoted, a kind's table.  Out: the names in the order of the sheet, which DuckDB keeps. (A sheet may have
-- a column called rowid.)
SELECT name FROM {table}
