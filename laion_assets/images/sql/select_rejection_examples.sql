-- In: $shard.  Out: the first three rejected rows of each reason, their texts cut to what a page has room for.
SELECT
    reason,
    row_index,
    CASE WHEN length(url) > 50 THEN left(url, 49) || '…' ELSE url END AS url,
    CASE WHEN length(caption) > 50 THEN left(caption, 49) || '…' ELSE caption END AS caption
FROM rejected_images
WHERE shard = $shard
QUALIFY row_number() OVER (PARTITION BY reason ORDER BY row_index) <= 3
ORDER BY reason, row_index
