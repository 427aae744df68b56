-- In: `keys`, `found`, and how a value is read.
-- Out: rows without a key of their own, rows whose key the file lacks, rows whose value there is
-- NULL, rows whose value is of another type, and keys of the shard with several lines in the file.
SELECT
    count(*) FILTER (WHERE keys.key IS NULL) AS without_key,
    count(*) FILTER (WHERE keys.key IS NOT NULL AND found.key IS NULL) AS not_in_file,
    count(*) FILTER (WHERE found.key IS NOT NULL AND value IS NULL) AS null_in_file,
    count(*) FILTER (WHERE value IS NOT NULL AND {value} IS NULL) AS wrong_type,
    (SELECT count(*) FROM found WHERE line_count > 1) AS repeated_keys
FROM keys LEFT JOIN (SELECT key, first.value AS value FROM found) AS found USING (key)
