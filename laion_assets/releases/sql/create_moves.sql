-- In: the tables `before` and `after` of counts, {keys} quoted.  Out: the table `moves`: the keys, both counts, and the
-- change, of all that changed. What only one has counts 0 in the other.
CREATE TEMP TABLE moves AS
SELECT
    {keys},
    coalesce(before.image_count, 0) AS before_count,
    coalesce(after.image_count, 0) AS after_count,
    after_count - before_count AS change
FROM before
FULL JOIN after USING ({keys})
WHERE change <> 0
