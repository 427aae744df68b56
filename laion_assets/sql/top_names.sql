-- In: $kind.  Out: its 20 names with the most images.
SELECT name, image_count
FROM entity_counts
WHERE kind = $kind
ORDER BY image_count DESC, name
LIMIT 20
