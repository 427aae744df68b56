-- In: `keys`, `lines`, and how a key of these is read.
-- Out: the table `found`: of each key of the shard its first line in the file, and how many it has.
-- The value is in a struct, because a first value that is NULL comes first, too.
CREATE TABLE found AS
SELECT key, arg_min(struct_pack(value := value), line) AS first, count(*) AS line_count
FROM (SELECT {key} AS key, value, line FROM lines)
SEMI JOIN keys USING (key)
GROUP BY key
