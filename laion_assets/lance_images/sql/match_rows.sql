-- In: the tables `new_rows` (place, image_id) and `old_rows` (place, image_id, address).
-- Out: for each new row, in order, the address of the old one with the same image_id, NULL if there is none. Of rows that
-- repeat one id, the first has that of the first, and so on; more of them than before have that of the last.
WITH numbered AS (
    SELECT place, image_id, row_number() OVER (PARTITION BY image_id ORDER BY place) AS number
    FROM new_rows
),

known AS (
    SELECT
        image_id,
        address,
        row_number() OVER (PARTITION BY image_id ORDER BY place) AS number,
        count(*) OVER (PARTITION BY image_id) AS total
    FROM old_rows
)

SELECT known.address
FROM numbered
LEFT JOIN known ON known.image_id = numbered.image_id AND known.number = least(numbered.number, known.total)
ORDER BY numbered.place
