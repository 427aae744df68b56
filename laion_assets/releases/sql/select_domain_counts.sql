-- Out: the images of each domain, the largest first.
SELECT domain, image_count FROM domain_counts ORDER BY image_count DESC, domain
