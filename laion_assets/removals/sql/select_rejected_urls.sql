-- Out: shard, row_index, url of the rejected rows that still have one.
SELECT shard, row_index, url
FROM rejected_images
WHERE url IS NOT NULL
