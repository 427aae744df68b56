-- Out: names, and how many of them match no caption.
SELECT count(*) AS name_count, count(*) FILTER (image_count = 0) AS unmatched_count FROM entity_counts
