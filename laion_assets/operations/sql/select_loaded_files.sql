-- Out: the SHA-256 of the file that each shard was loaded from.
SELECT shard, sha256 FROM shards ORDER BY shard
