-- In: the view `source`; in `removed_hosts` rough authorities and in `removed_ids` ids of images that are on the list of removals, each with its entry.
-- Out: row_index, entry of their rows.
SELECT row_index, entry
FROM (SELECT row_index, rough_authority(url) AS authority FROM source)
JOIN removed_hosts USING (authority)
UNION ALL
SELECT row_index, entry
FROM (SELECT row_index, image_id(url, caption) AS image_id FROM source WHERE url IS NOT NULL AND caption IS NOT NULL)
JOIN removed_ids USING (image_id)
