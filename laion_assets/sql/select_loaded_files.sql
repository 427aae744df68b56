-- Out: the shards that are loaded, the load's id, and the checksum of its file.
SELECT shard, load_id, sha256 FROM shards ORDER BY shard
