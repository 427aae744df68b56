-- In: $shard, the view `source`, in `removed_rows` the rows that were removed, and `images` with the shard's good rows.
-- Out: every other row of the file in `rejected_images`, with the reason.
INSERT INTO rejected_images BY NAME
SELECT
    $shard AS shard,
    row_index,
    url,
    caption,
    CASE
        WHEN row_index IN (SELECT row_index FROM removed_rows) THEN 'removed'
        ELSE rejection_reason(url, url_host(url), caption)
    END AS reason
FROM source
ANTI JOIN (SELECT row_index FROM images WHERE shard = $shard) USING (row_index)
