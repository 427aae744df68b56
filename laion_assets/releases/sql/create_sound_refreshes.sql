-- Out: `refreshes` of this connection, empty.
CREATE TEMP TABLE refreshes AS FROM laion.main.refreshes LIMIT 0
