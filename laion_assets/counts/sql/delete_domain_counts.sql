-- Out: no row in `domain_counts`.
DELETE FROM domain_counts
