-- In: $load_id, $filter (a regular expression).  Out: of that load's captions those that are not ASCII alone, and those
-- that fit the filter.
SELECT caption
FROM images
WHERE shard = (SELECT shard FROM shards WHERE load_id = $load_id)
    AND (strlen(caption) <> length(caption) OR regexp_matches(caption, $filter))
