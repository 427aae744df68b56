-- In: a table `images`, of DuckDB or of Lance.  Out: shard, rows, sum of the ids; equal where the rows are.
SELECT shard, count(*) AS image_count, sum(image_id::HUGEINT) AS id_sum
FROM images
GROUP BY shard
