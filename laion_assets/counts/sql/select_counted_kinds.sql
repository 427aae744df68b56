-- Out: the kinds of names that are counted.
SELECT DISTINCT kind FROM laion.main.entity_counts ORDER BY kind
