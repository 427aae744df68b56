-- In: {are_outdated}, a predicate of shards; `carried_images`.  Out: `images` of this connection: without the loads of
-- these shards, with the carried rows.
CREATE TEMP VIEW images AS
SELECT shard, image_id, caption, domain, registered_domain FROM laion.main.images WHERE NOT ({are_outdated})
UNION ALL BY NAME
FROM carried_images
