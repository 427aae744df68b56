-- In: $tree, a parsed query as JSON.  Out: the query as text.
SELECT json_deserialize_sql($tree::JSON)
