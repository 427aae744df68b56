-- In: what the record of a release says of a shard.  Out: the shard in `shards` of this connection; its load has a name
-- that no other has.
INSERT INTO shards BY NAME
SELECT
    $shard AS shard,
    'carried ' || $shard AS load_id,
    $source AS source,
    $sha256 AS sha256,
    $file_bytes AS file_bytes,
    $file_rows AS file_rows,
    $image_count AS image_count,
    $rejected_count AS rejected_count,
    $cleaning_version AS cleaning_version,
    $lance_version AS lance_version,
    $run_id AS run_id,
    $loaded_at AS loaded_at,
    $is_sample AS is_sample
