-- In: $kind.  Out: the number of names that the kind had, and no record of it.
DELETE FROM sheets WHERE kind = $kind RETURNING name_count
