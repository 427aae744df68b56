-- Out: the shards that have scores out of range: shard, figure, rows; the most first.
SELECT shard, replace(figure, 'out_of_range_', '') AS score, row_count
FROM shard_figures
WHERE starts_with(figure, 'out_of_range_') AND row_count > 0
ORDER BY row_count DESC, shard, score
