-- Out: `domain_counts` of this connection, empty.
CREATE TEMP TABLE domain_counts AS FROM laion.main.domain_counts LIMIT 0
