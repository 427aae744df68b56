-- In: $shard, the view `cleaned`.  Out: the other rows in `rejected_images`.
INSERT INTO rejected_images BY NAME
SELECT $shard AS shard, row_index, url, caption, reason
FROM cleaned
WHERE reason IS NOT NULL
