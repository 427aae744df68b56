-- In: $load_id, $phrases and $image_counts (as long).  Out: the counts stored, unless the shard was replaced since.
-- A count that another refresh has stored meanwhile stays: it is the same.
INSERT INTO caption_matches BY NAME
SELECT shard, phrase, image_count
FROM (
    SELECT
        shard,
        unnest($phrases::VARCHAR[]) AS phrase,
        unnest($image_counts::BIGINT[]) AS image_count
    FROM shards
    WHERE load_id = $load_id
)
ANTI JOIN caption_matches USING (shard, phrase)
