-- In: {score} quoted, $shard, $low, $high, $per_unit (bins in a unit of the score).
-- Out: the bins that have images, their images, their share in per cent, and a bar. What is out of range is in the
-- outermost bin; the highest value is in the last. The type is that of the score, lest 0.7 be in the bin under it.
SELECT
    printf('%.2f to %.2f', bin / $per_unit, (bin + 1) / $per_unit) AS {score},
    image_count,
    round(100 * image_count / sum(image_count) OVER (), 2) AS share_percent,
    bar(image_count, 0, max(image_count) OVER (), 20) AS bar
FROM (
    SELECT
        least(
            floor(greatest(least({score}, $high::FLOAT), $low::FLOAT) * $per_unit::FLOAT),
            $high::FLOAT * $per_unit::FLOAT - 1
        )::INTEGER AS bin,
        count(*) AS image_count
    FROM images
    WHERE shard = $shard AND {score} IS NOT NULL
    GROUP BY bin
)
ORDER BY bin
