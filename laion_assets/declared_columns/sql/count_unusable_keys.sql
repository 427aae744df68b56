-- In: `lines`, and how a key of these is read.  Out: lines with a key that is of another type.
SELECT count(*) FROM lines WHERE key IS NOT NULL AND {key} IS NULL
