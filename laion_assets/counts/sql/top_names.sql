-- In: $kind.  Out: its 20 names with the most images, with a bar.
SELECT name, image_count, bar(image_count, 0, greatest(max(image_count) OVER (), 1), 20) AS bar
FROM entity_counts
WHERE kind = $kind
ORDER BY image_count DESC, name
LIMIT 20
