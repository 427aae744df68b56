-- In: $table_name.  Out: a note that the table of counts tells of the shards as they are loaded now.
INSERT INTO refreshes BY NAME
SELECT
    $table_name AS table_name,
    (SELECT md5(coalesce(string_agg(load_id, ',' ORDER BY shard), '')) FROM shards) AS snapshot,
    now() AS refreshed_at
