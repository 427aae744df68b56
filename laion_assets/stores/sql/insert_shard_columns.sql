-- In: the columns of `shard_columns` but the time.  Out: a note of a set of columns of a shard.
INSERT INTO shard_columns BY NAME
SELECT
    $shard AS shard,
    $column_set AS column_set,
    $load_id AS load_id,
    $made_from AS made_from,
    $value_count AS value_count,
    $data_bytes AS data_bytes,
    $digest AS digest,
    $lance_version AS lance_version,
    $run_id AS run_id,
    now() AS made_at
