-- In: $kinds, $positions, $names, $phrases (as long).  Out: `entity_counts` in the order of the sheets.
-- A name without any word has an empty phrase and counts 0.
INSERT INTO entity_counts BY NAME
SELECT kind, name, coalesce(image_count, 0) AS image_count
FROM (
    SELECT
        unnest($kinds::VARCHAR[]) AS kind,
        unnest($positions::BIGINT[]) AS position,
        unnest($names::VARCHAR[]) AS name,
        unnest($phrases::VARCHAR[]) AS phrase
)
LEFT JOIN (SELECT phrase, sum(image_count) AS image_count FROM caption_matches GROUP BY phrase) USING (phrase)
ORDER BY kind, position
