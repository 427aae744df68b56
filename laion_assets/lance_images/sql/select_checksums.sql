-- In: the sums of `images` by shard, as `name_sums` names them.
-- Out: each shard that DuckDB has, its digest as `name_digest` makes it, its rows, the sum of their ids, whether Lance has
-- had the present load. The same load has the same sum; another one may have so too.
SELECT
    shard,
    left(sha256(shard), 24) AS digest,
    coalesce(image_count, 0) AS image_count,
    coalesce(id_sum, '0') AS id_sum,
    coalesce(lance_version IS NOT NULL, false) AS is_noted
FROM (SELECT shard, lance_version FROM shards)
FULL JOIN {images} USING (shard)
