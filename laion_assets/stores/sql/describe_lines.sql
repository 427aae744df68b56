-- In: `lines`.  Out: the type of the values.
DESCRIBE SELECT value FROM lines
