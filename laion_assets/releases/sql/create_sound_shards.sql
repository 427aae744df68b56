-- In: $outdated shards.  Out: `shards` of this connection, without them.
CREATE TEMP TABLE shards AS FROM laion.main.shards WHERE NOT list_contains($outdated::VARCHAR[], shard)
