-- In: $outdated shards.  Out: `caption_matches` of this connection, without them.
CREATE TEMP TABLE caption_matches AS FROM laion.main.caption_matches WHERE NOT list_contains($outdated::VARCHAR[], shard)
