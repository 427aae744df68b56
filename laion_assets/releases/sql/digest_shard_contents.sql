-- Out: SHA-256 of what makes the content of a release, of all loaded shards: a line for each, with tabs between.
SELECT
    sha256(
        coalesce(
            string_agg(
                concat_ws(
                    chr(9), shard, coalesce(origin_sha256, sha256), image_count, rejected_count, cleaning_version
                ),
                chr(10)
                ORDER BY shard
            ),
            ''
        )
    )
FROM shards
