-- In: $shard, $load_id.  Out: the captions of that load of a shard; none if the shard was replaced since.
SELECT caption
FROM images
WHERE shard = $shard
    AND $load_id = (SELECT load_id FROM shards WHERE shard = $shard)
