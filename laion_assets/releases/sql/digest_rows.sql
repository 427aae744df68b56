-- In: the Arrow rows `lance_rows`.  Out: shard, its rows, and a digest of all their values, in whatever order they stand.
SELECT shard, count(*) AS row_count, sum(hash(lance_rows)::HUGEINT) AS digest
FROM lance_rows
GROUP BY shard
