-- Out: one row for each shard and each table of counts, with a digest of its content; in a fixed order.
SELECT 'shard:' || shard AS part, image_count, rejected_count, sha256 AS digest
FROM shards
UNION ALL
SELECT 'domain_counts', count(*), NULL, md5(coalesce(string_agg(domain || ' ' || image_count, chr(10) ORDER BY domain), ''))
FROM domain_counts
UNION ALL
SELECT
    'entity_counts',
    count(*),
    NULL,
    md5(coalesce(string_agg(kind || chr(9) || name || chr(9) || image_count, chr(10) ORDER BY kind, name), ''))
FROM entity_counts
ORDER BY part
