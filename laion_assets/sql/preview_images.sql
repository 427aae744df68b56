-- In: $shard.  Out: its first rows, with the columns that a person looks at first.
SELECT row_index, caption, domain, width, height, aesthetic, punsafe, url
FROM images
WHERE shard = $shard
ORDER BY row_index
LIMIT 8
