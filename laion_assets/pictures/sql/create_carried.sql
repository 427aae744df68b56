-- In: $shard, $is_carried: whether Lance kept its pictures.  Out: the table `carried`: what is known of the pictures that
-- the new rows of a shard kept. `match_rows.sql` chose them by the same rule.
CREATE TEMP TABLE carried AS
WITH numbered AS (
    SELECT row_index, image_id, row_number() OVER (PARTITION BY image_id ORDER BY row_index) AS number
    FROM images
    WHERE shard = $shard AND $is_carried
),

known AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY image_id ORDER BY row_index) AS number,
        count(*) OVER (PARTITION BY image_id) AS total
    FROM pictures
    WHERE shard = $shard
)

SELECT known.* EXCLUDE (number, total) REPLACE (numbered.row_index AS row_index)
FROM numbered
JOIN known ON known.image_id = numbered.image_id AND known.number = least(numbered.number, known.total)
