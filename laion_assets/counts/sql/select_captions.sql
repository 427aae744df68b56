-- In: $load_id.  Out: the captions of that load of a shard; none if the shard was replaced since.
SELECT caption FROM images WHERE shard = (SELECT shard FROM shards WHERE load_id = $load_id)
