-- In: $image_ids, $domains.  Out: shard, row_index, image_id of these images, without those of the domains.
SELECT shard, row_index, image_id
FROM images
WHERE image_id IN (SELECT unnest($image_ids::BIGINT[])) AND domain NOT IN (SELECT unnest($domains::VARCHAR[]))
