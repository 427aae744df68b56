-- In: $shard.  Out: quantiles of the length of its captions in Unicode characters, NULL without captions, and how many
-- captions have a character that is not ASCII. There are few lengths: the quantiles are exact, of the counts of each.
WITH lengths AS (
    SELECT
        length(caption) AS characters,
        count(*) AS caption_count,
        count(*) FILTER (strlen(caption) <> length(caption)) AS non_ascii_count
    FROM images
    WHERE shard = $shard
    GROUP BY characters
),

running AS (
    SELECT
        *,
        sum(caption_count) OVER (ORDER BY characters) AS up_to,
        sum(caption_count) OVER () AS total
    FROM lengths
)

SELECT
    min(characters) FILTER (up_to >= 0.05 * total) AS p05,
    min(characters) FILTER (up_to >= 0.5 * total) AS median,
    min(characters) FILTER (up_to >= 0.95 * total) AS p95,
    max(characters) AS longest,
    coalesce(sum(non_ascii_count), 0)::BIGINT AS non_ascii
FROM running
