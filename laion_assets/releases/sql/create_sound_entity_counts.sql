-- Out: `entity_counts` of this connection, empty.
CREATE TEMP TABLE entity_counts AS FROM laion.main.entity_counts LIMIT 0
