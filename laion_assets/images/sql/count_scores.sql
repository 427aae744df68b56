-- In: {score} quoted, $shard, $low, $high, $per_unit (bins in a unit of the score).
-- Out: the bins that have images, their images, their share in per cent, and a bar. What is out of range is in the
-- outermost bin; the highest value is in the last. The type is that of the score, lest 0.7 be in the bin under it.
-- The many rows are only floored and counted: to limit each of them too would take ten times as long.
SELECT
    printf('%.2f to %.2f', bin / $per_unit, (bin + 1) / $per_unit) AS {score},
    image_count,
    round(100 * image_count / sum(image_count) OVER (), 2) AS share_percent,
    bar(image_count, 0, max(image_count) OVER (), 20) AS bar
FROM (
    SELECT
        least(greatest(floored, $low * $per_unit), $high * $per_unit - 1)::INTEGER AS bin,
        sum(value_count)::BIGINT AS image_count
    FROM (
        SELECT floor({score} * $per_unit::FLOAT) AS floored, count(*) AS value_count
        FROM images
        WHERE shard = $shard
        GROUP BY floored
    )
    WHERE floored IS NOT NULL
    GROUP BY bin
)
ORDER BY bin
