-- In: the sums of `pictures` by shard, as `name_sums` names them.
-- Out: of each shard, where its pictures came from, how many, their size, and when they were fetched.
SELECT shard, source, picture_count, byte_count, first_fetched_at, last_fetched_at
FROM {pictures}
ORDER BY shard, source
