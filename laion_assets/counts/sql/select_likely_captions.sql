-- In: $shard, $load_id, $filter (a regular expression).  Out: of that load's captions those that are not ASCII alone,
-- and those that fit the filter.
SELECT caption
FROM images
WHERE shard = $shard
    AND $load_id = (SELECT load_id FROM shards WHERE shard = $shard)
    AND (strlen(caption) <> length(caption) OR regexp_matches(caption, $filter))
