-- For SQLite.  Out: each foreign key: its table and column, and the table and column that it refers to.
SELECT tables.name, keys."from", keys."table", keys."to"
FROM sqlite_schema AS tables, pragma_foreign_key_list(tables.name) AS keys
WHERE tables.type = 'table'
