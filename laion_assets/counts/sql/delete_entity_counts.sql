-- Out: no row in `entity_counts`.
DELETE FROM entity_counts
