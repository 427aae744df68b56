-- In: {table} quoted, a kind's table.  Out: the names in the order of the sheet.
SELECT name FROM {table} ORDER BY rowid
