-- In: the name of the view, and of the Arrow table of shard and note, quoted; the types of what is noted, as JSON; the
-- statement sum_<table>.sql; a predicate of the shards without a note.  Out: the view, with the rows of that statement.
CREATE TEMP VIEW {view} AS
SELECT shard, unnest(from_json(note, {types}), recursive := true) FROM {notes}
UNION ALL BY NAME
SELECT * FROM ({sums}) WHERE {are_not_noted}
