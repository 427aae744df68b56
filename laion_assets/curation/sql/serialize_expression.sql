-- In: $query.  Out: the parsed query as JSON, or why it cannot be parsed.
SELECT json_serialize_sql($query::VARCHAR)
