-- In: $shard, the table `facts`.  Out: of the shard only those rows in `pictures` whose picture was kept.
DELETE FROM pictures
WHERE shard = $shard AND row_index NOT IN (SELECT row_index FROM facts WHERE is_kept)
