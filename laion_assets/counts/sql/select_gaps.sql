-- In: $phrases.  Out: shard, load_id and the list of phrases not yet counted for it, where there are any.
SELECT shard, load_id, list(phrase ORDER BY phrase) AS phrases
FROM (SELECT shard, load_id, unnest($phrases::VARCHAR[]) AS phrase FROM shards)
ANTI JOIN caption_matches USING (shard, phrase)
GROUP BY shard, load_id
ORDER BY shard
