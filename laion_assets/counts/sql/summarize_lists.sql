-- Out: of each list that was read, by kind: the header of its names, names, names that match no caption.
SELECT kind, name_header, name_count, coalesce(unmatched_count, 0) AS unmatched_count
FROM sheets
LEFT JOIN (
    SELECT kind, count(*) FILTER (image_count = 0) AS unmatched_count FROM entity_counts GROUP BY kind
) USING (kind)
ORDER BY kind
