-- In: the columns of `shards`.  Out: one row that says what was loaded from which file.
INSERT INTO shards BY NAME
SELECT
    $shard AS shard,
    $load_id AS load_id,
    $source AS source,
    $sha256 AS sha256,
    $file_bytes AS file_bytes,
    $file_rows AS file_rows,
    $image_count AS image_count,
    $rejected_count AS rejected_count,
    $cleaning_version AS cleaning_version,
    $run_id AS run_id,
    now() AS loaded_at,
    $is_sample AS is_sample,
    $origin_sha256 AS origin_sha256
