-- In: path, key and value, quoted.  Out: the view `lines`: key, value and number of each line.
CREATE OR REPLACE TEMP VIEW lines AS
SELECT {key} AS key, {value} AS value, row_number() OVER () AS line
FROM read_csv({path}, header = true, all_varchar = true)
