-- In: $phrases, {are_theirs}, a predicate of shards.  Out: of each of them that lacks a count of some phrases its name,
-- load_id and the list of these phrases.
SELECT shard, load_id, list(phrase ORDER BY phrase) AS phrases
FROM (SELECT shard, load_id, unnest($phrases::VARCHAR[]) AS phrase FROM shards WHERE {are_theirs})
ANTI JOIN (SELECT shard, phrase FROM caption_matches WHERE {are_theirs}) USING (shard, phrase)
GROUP BY shard, load_id
ORDER BY shard
