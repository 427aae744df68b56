-- In: $count.  Out: so many rows of each shard whose picture the shard brought, others with each load: shard, row.
SELECT shard, row_index
FROM pictures
JOIN shard_columns USING (shard)
WHERE source = 'given' AND column_set = 'pictures'
QUALIFY row_number() OVER (PARTITION BY shard ORDER BY hash(row_index, digest)) <= $count
ORDER BY shard, row_index
