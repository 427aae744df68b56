-- In: $table_name, $names_sha256.
-- Out: a note that the table of counts tells of the shards as they are loaded now, and of those names.
INSERT INTO refreshes BY NAME
SELECT
    $table_name AS table_name,
    (SELECT md5(coalesce(string_agg(load_id, ',' ORDER BY shard), '')) FROM shards) AS snapshot,
    $names_sha256 AS names_sha256,
    now() AS refreshed_at
