-- Out: domains, images.
SELECT count(*) AS domain_count, coalesce(sum(image_count), 0)::BIGINT AS image_count FROM domain_counts
