-- In: $shard, $figures, $row_counts (as long).  Out: the figures of the shard.
INSERT INTO shard_figures BY NAME
SELECT $shard AS shard, unnest($figures::VARCHAR[]) AS figure, unnest($row_counts::BIGINT[]) AS row_count
