-- In: $count.  Out: so many rows with pictures of each shard, others with each load: shard, row, format, bytes, width, height.
SELECT shard, row_index, format, byte_count, width, height
FROM pictures
JOIN shard_columns USING (shard)
WHERE source IS NOT NULL AND column_set = 'pictures'
QUALIFY row_number() OVER (PARTITION BY shard ORDER BY hash(row_index, digest)) <= $count
ORDER BY shard, row_index
