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

compared AS (
    SELECT
        mine.shard,
        mine.figure,
        mine.share,
        mine.total,
        median(other.share) AS median_of_others
    FROM shares AS mine
    JOIN shares AS other ON other.figure = mine.figure AND other.shard <> mine.shard
    GROUP BY mine.shard, mine.figure, mine.share, mine.total
    HAVING count(*) >= $least_others
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
