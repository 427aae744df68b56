-- In: a table `images`, of DuckDB or of Lance.  Out: shard, rows, sum of the ids. The same load has the same; another
-- load may have so too, which `shards.lance_version` tells.
SELECT shard, count(*) AS image_count, sum(image_id::HUGEINT) AS id_sum
FROM images
GROUP BY shard
