-- Out: what is counted, and how many there are.
SELECT 'images' AS what, coalesce(sum(image_count), 0)::BIGINT AS row_count FROM shards
UNION ALL
SELECT 'rejected rows', coalesce(sum(rejected_count), 0)::BIGINT FROM shards
UNION ALL
SELECT 'domains', count(*) FROM domain_counts
UNION ALL
SELECT 'names', count(*) FROM entity_counts
UNION ALL
SELECT 'names in a caption', count(*) FROM entity_counts WHERE image_count > 0
UNION ALL
SELECT 'pictures', count(*) FROM pictures WHERE status = 'success'
