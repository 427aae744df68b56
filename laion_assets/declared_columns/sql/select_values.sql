-- In: `keys`, `found`, and how a value is read.  Out: the value of each row of the shard, in order.
SELECT {value} AS {name}
FROM keys LEFT JOIN (SELECT key, first.value AS value FROM found) USING (key)
ORDER BY place
