-- Out: how many rows `images` has, as the loads noted it.
SELECT coalesce(sum(image_count), 0)::BIGINT FROM shards
