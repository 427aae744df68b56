-- In: $far, $near, $times, $least_others, $least_rows.
-- Out: the shards that stand out: shard, figure, their share and the median share of the other shards, in per cent.
-- Shares are of the file's rows if they are rejected, else of the images. A share stands out if it is further than $far
-- from the median, or further than $near and more than $times the median; and if at least $least_rows rows make the
-- difference. A shard is compared where at least $least_others others have the figure.
WITH shares AS (
    SELECT shard, figure, row_count / image_count AS share, image_count AS total
    FROM shard_figures
    JOIN shards USING (shard)
    WHERE starts_with(figure, 'missing_') AND image_count > 0
    UNION ALL
    SELECT shard, 'rejected', rejected_count / file_rows, file_rows
    FROM shards
    WHERE file_rows > 0
),

placed AS (
    SELECT *, row_number() OVER (PARTITION BY figure ORDER BY share, shard) - 1 AS place
    FROM shares
),

-- Without one value, the median of the others is between two of these four.
middles AS (
    SELECT
        figure,
        others,
        low,
        high,
        ordered[low + 1] AS at_low,
        ordered[low + 2] AS after_low,
        ordered[high + 1] AS at_high,
        ordered[high + 2] AS after_high
    FROM (
        SELECT
            figure,
            count(*) - 1 AS others,
            (others - 1) // 2 AS low,
            others // 2 AS high,
            list(share ORDER BY share, shard) AS ordered
        FROM shares
        GROUP BY figure
    )
    WHERE others >= $least_others
),

compared AS (
    SELECT
        shard,
        figure,
        share,
        total,
        (if(low < place, at_low, after_low) + if(high < place, at_high, after_high)) / 2 AS median_of_others
    FROM placed
    JOIN middles USING (figure)
)

SELECT
    shard,
    figure,
    round(100 * share, 2) AS share_percent,
    round(100 * median_of_others, 2) AS median_of_others_percent
FROM compared
WHERE abs(share - median_of_others) * total >= $least_rows
    AND (
        abs(share - median_of_others) > $far
        OR (share - median_of_others > $near AND share > $times * median_of_others)
    )
ORDER BY abs(share - median_of_others) DESC, shard, figure
