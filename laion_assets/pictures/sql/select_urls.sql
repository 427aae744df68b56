-- In: $shard.  Out: the URLs of its images, each once.
SELECT DISTINCT url FROM images WHERE shard = $shard
