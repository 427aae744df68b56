-- Out: the pairs of shard and phrase that are counted.
SELECT count(*) FROM caption_matches
