-- For SQLite.  In: {table}, {column}, {parent} and {key}, a foreign key, each quoted.  Out: a row without its parent. Where the column has an index, only that is read.
SELECT rowid FROM {table} WHERE {column} NOT IN (SELECT {key} FROM {parent}) LIMIT 1
