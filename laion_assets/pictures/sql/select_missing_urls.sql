-- In: $shard, $max_punsafe, $unsafe_labels.  Out: the URLs of its rows without a picture that may be asked for, each once.
SELECT DISTINCT url
FROM images
JOIN pictures USING (shard, row_index)
WHERE
    images.shard = $shard
    AND pictures.status != 'success'
    AND coalesce(punsafe, CASE WHEN list_contains($unsafe_labels, upper(trim(nsfw))) THEN 1 END, 0) <= $max_punsafe
