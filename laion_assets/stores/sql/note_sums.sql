-- In: one of the statements sum_<table>.sql, its columns beside the shard, $shards.
-- Out: those of these shards that are in it, with their rows there as JSON.
SELECT shard, to_json(list(struct_pack({columns}))) AS note
FROM ({sums})
WHERE list_contains($shards::VARCHAR[], shard)
GROUP BY shard
