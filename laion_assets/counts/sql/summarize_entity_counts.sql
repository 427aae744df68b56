-- Out: kind, names, how many of them match no caption; by kind.
SELECT kind, count(*) AS name_count, count(*) FILTER (image_count = 0) AS unmatched_count
FROM entity_counts
GROUP BY kind
ORDER BY kind
