-- Out: what a release says of each list of names, by kind; see manifest.ReleasedSheet.
SELECT kind, location, sha256, name_count, changed_at FROM sheets ORDER BY kind
