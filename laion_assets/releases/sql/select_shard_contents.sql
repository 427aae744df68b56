-- Out: of each loaded shard what makes the content of a release: its file, and what became of its rows.
SELECT shard, coalesce(origin_sha256, sha256) AS sha256, image_count, rejected_count, cleaning_version
FROM shards
