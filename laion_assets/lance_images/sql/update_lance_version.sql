-- In: $load_id, $lance_version.  Out: a note that Lance has that load of a shard, unless the shard was replaced since.
UPDATE shards SET lance_version = $lance_version WHERE load_id = $load_id
