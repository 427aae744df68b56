-- For SQLite.  In: a name, its double quotes doubled.  Out: the captions that have it as a phrase; the contract's rule.
SELECT count(*) FROM captions WHERE captions MATCH '"' || ? || '"'
