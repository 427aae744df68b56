-- Out: `site_counts` of this connection, empty.
CREATE TEMP TABLE site_counts AS FROM laion.main.site_counts LIMIT 0
