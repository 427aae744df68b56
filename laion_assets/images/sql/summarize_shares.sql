-- Out: the least, the median and the greatest share of a shard, in per cent: of rejected rows, and of images that repeat
-- an earlier one, have no ASCII caption, lack a value or have a score out of range.
SELECT
    figure,
    round(100 * min(share), 2) AS least_percent,
    round(100 * median(share), 2) AS median_percent,
    round(100 * max(share), 2) AS greatest_percent
FROM (
    SELECT figure, row_count / image_count AS share
    FROM shard_figures
    JOIN shards USING (shard)
    WHERE image_count > 0
    UNION ALL
    SELECT 'rejected', rejected_count / file_rows
    FROM shards
    WHERE file_rows > 0
)
GROUP BY figure
ORDER BY greatest_percent - least_percent DESC, figure
