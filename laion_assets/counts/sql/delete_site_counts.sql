-- Out: no row in `site_counts`.
DELETE FROM site_counts
