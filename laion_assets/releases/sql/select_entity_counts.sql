-- Out: the images of each name, in the order of the sheets.
SELECT kind, name, image_count FROM entity_counts ORDER BY rowid
