-- In: $shard, the table `facts`.  Out: its rows in `pictures`, but for those that are there.
INSERT INTO pictures BY NAME
SELECT facts.* EXCLUDE (is_kept), $shard AS shard
FROM facts
ANTI JOIN (SELECT row_index FROM pictures WHERE shard = $shard) AS kept USING (row_index)
