-- In: $shard, $sha256.  Out: whether this content of the shard is in DuckDB, and has been copied to Lance.
SELECT count(*) > 0 FROM shards WHERE shard = $shard AND sha256 = $sha256 AND lance_version IS NOT NULL
