-- In: $cleaning_version.  Out: the shards that are loaded, the load's id, the checksum of its file, whether these rules cleaned it.
SELECT shard, load_id, sha256, cleaning_version = $cleaning_version FROM shards ORDER BY shard
