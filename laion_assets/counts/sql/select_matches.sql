-- In: $load_id.  Out: phrase, captions of that load of a shard that hold it.
SELECT phrase, caption_matches.image_count
FROM caption_matches
JOIN shards USING (shard)
WHERE load_id = $load_id
