-- In: $shard, $count, $most_unsafe, $unsafe_labels.
-- Out: so many rows with pictures, from all over the shard, none that may be unsafe.
SELECT row_index
FROM (
    SELECT row_index, ntile($count) OVER (ORDER BY row_index) AS part
    FROM pictures
    JOIN images USING (shard, row_index)
    WHERE
        shard = $shard
        AND source IS NOT NULL
        AND coalesce(punsafe, CASE WHEN list_contains($unsafe_labels, upper(trim(nsfw))) THEN 1 END, 0) <= $most_unsafe
)
QUALIFY row_number() OVER (PARTITION BY part ORDER BY row_index) = 1
ORDER BY row_index
