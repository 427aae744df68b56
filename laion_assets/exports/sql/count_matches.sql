-- For SQLite.  In: a name, its double quotes doubled.  Out: the images whose caption has it as a phrase; the contract's rule.
SELECT count(*) FROM images_fts WHERE images_fts MATCH '"' || ? || '"'
