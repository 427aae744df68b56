-- Out: each table of counts, and SHA-256 of its rows: a line for each, its values with tabs between, in order.
SELECT
    'domain_counts' AS table_name,
    sha256(coalesce(string_agg(domain || chr(9) || image_count, chr(10) ORDER BY domain), '')) AS content_sha256
FROM domain_counts
UNION ALL
SELECT
    'site_counts',
    sha256(
        coalesce(
            string_agg(
                registered_domain || chr(9) || image_count || chr(9) || host_count, chr(10) ORDER BY registered_domain
            ),
            ''
        )
    )
FROM site_counts
UNION ALL
SELECT
    'entity_counts',
    sha256(coalesce(string_agg(kind || chr(9) || name || chr(9) || image_count, chr(10) ORDER BY kind, name), ''))
FROM entity_counts
