-- In: $outdated shards.  Out: `shard_domains` of this connection, without them.
CREATE TEMP TABLE shard_domains AS FROM laion.main.shard_domains WHERE NOT list_contains($outdated::VARCHAR[], shard)
