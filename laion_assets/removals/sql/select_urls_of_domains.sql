-- In: $domains.  Out: shard, row_index, url of their rows.
SELECT shard, row_index, url
FROM images
WHERE domain IN (SELECT unnest($domains::VARCHAR[]))
