-- In: $far, $least_others, $least_rows.
-- Out: the shards of which far fewer pictures came than of the others: shard, rows, pictures, their share and the median
-- share of the other shards, in per cent; the worst first. Shards without any picture to be had are left out.
WITH shares AS (
    SELECT shard, count(*) AS row_count, count(source) AS picture_count, picture_count / row_count AS share
    FROM pictures
    GROUP BY shard
    HAVING count(source) > 0 OR count_if(status <> 'not_given') > 0
),

compared AS (
    SELECT
        *,
        count(*) OVER () - 1 AS others,
        median(share) OVER (
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW
        ) AS median_of_others
    FROM shares
)

SELECT
    shard,
    row_count,
    picture_count,
    round(100 * share, 2) AS share_percent,
    round(100 * median_of_others, 2) AS median_of_others_percent
FROM compared
WHERE others >= $least_others
    AND median_of_others - share > $far
    AND (median_of_others - share) * row_count >= $least_rows
ORDER BY median_of_others - share DESC, shard
