-- For SQLite.  In: the path of a file.  Out: its tables, in the schema `other`.
ATTACH ? AS other
