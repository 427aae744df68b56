-- Out: the images of each name, in the order of the sheets, in which they were inserted: DuckDB and Lance keep it.
SELECT kind, name, image_count FROM entity_counts
