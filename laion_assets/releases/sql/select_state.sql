-- Out: a word for the shards and their columns as DuckDB and Lance have them now, NULL without any shard.
SELECT
    md5(
        string_agg(concat(load_id, ':', lance_version), ',' ORDER BY shard)
        || coalesce(
            (
                SELECT string_agg(concat(column_set, digest, lance_version), ',' ORDER BY shard, column_set)
                FROM shard_columns
            ),
            ''
        )
    )
FROM shards
