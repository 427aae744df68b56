-- Out: the images and hosts of each registered domain, the largest first.
SELECT registered_domain, image_count, host_count FROM site_counts ORDER BY image_count DESC, registered_domain
