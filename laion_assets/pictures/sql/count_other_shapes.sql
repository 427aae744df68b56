-- In: $most_difference.  Out: of each shard with pictures whose rows have a size: pictures, how many of them are wider or
-- higher in proportion than `width` and `height` say, in per cent too; the most first.
SELECT
    shard,
    count(*) AS picture_count,
    count_if(
        abs(ln((pictures.width::DOUBLE / pictures.height) / (images.width::DOUBLE / images.height)))
        -- One pixel more or less is rounding.
        > $most_difference + 1 / least(pictures.width, pictures.height)
    ) AS other_count,
    round(100 * other_count / picture_count, 2) AS other_percent
FROM pictures
JOIN images USING (shard, row_index)
WHERE source IS NOT NULL AND images.width > 0 AND images.height > 0 AND pictures.width > 0 AND pictures.height > 0
GROUP BY shard
ORDER BY other_percent DESC, shard
