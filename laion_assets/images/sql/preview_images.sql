-- In: $shard.  Out: its first rows, with few and narrow columns: a page leaves the caption what the others do not take.
SELECT caption, domain, width || ' x ' || height AS pixels, aesthetic, punsafe
FROM images
WHERE shard = $shard
ORDER BY row_index
LIMIT 5
