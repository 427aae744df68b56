-- In: {table} quoted.  Out: shard, rows, a number that other rows would hardly have.
SELECT shard, count(*) AS row_count, sum(hash(t)) AS digest
FROM {table} AS t
GROUP BY shard
