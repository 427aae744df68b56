-- In: $shards.  Out: what a release says of those whose present load it does not have; see manifest.OutdatedShard.
SELECT shard, sha256, loaded_at FROM shards WHERE list_contains($shards::VARCHAR[], shard) ORDER BY shard
