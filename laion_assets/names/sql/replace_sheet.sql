-- In: {table} quoted, the Arrow table `sheet`.  Out: the table of a kind of names, in the order of the sheet.
CREATE OR REPLACE TABLE {table} AS SELECT * FROM sheet
