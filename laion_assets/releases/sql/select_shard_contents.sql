-- Out: of each loaded shard what makes the content of a release: its file, and what became of its rows.
SELECT shard, sha256, image_count, rejected_count, cleaning_version FROM shards
