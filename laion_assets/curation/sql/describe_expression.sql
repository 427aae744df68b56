-- In: a query that was generated from a checked tree.  Out: the type of its only column.
DESCRIBE {query}
