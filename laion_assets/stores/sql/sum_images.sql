-- Out: shard, its rows in `images`, the sum of their ids, which has more than 64 bits.
SELECT shard, count(*) AS image_count, sum(image_id::HUGEINT)::VARCHAR AS id_sum
FROM images
GROUP BY shard
