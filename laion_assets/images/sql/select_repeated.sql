-- In: $most_share.  Out: the shards of whose images more than that share repeat an earlier one: shard, rows, per cent.
SELECT shard, row_count AS repeated, round(100 * row_count / image_count, 2) AS repeated_percent
FROM shard_figures
JOIN shards USING (shard)
WHERE figure = 'repeated' AND row_count > $most_share * image_count
ORDER BY repeated_percent DESC, shard
