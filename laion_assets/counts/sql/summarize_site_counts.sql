-- Out: registered domains, images.
SELECT count(*) AS site_count, coalesce(sum(image_count), 0)::BIGINT AS image_count FROM site_counts
