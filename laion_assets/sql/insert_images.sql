-- In: $shard, the view `cleaned`.  Out: the good rows in `images`.
INSERT INTO images BY NAME
SELECT * EXCLUDE (reason), image_id(url, caption) AS image_id, $shard AS shard
FROM cleaned
WHERE reason IS NULL
