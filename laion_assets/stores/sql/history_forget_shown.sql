-- In: the id of a run.  Out: Dagster's history (SQLite) has no copy of what an asset, which may be no more, showed then.
UPDATE asset_keys SET last_materialization = NULL
WHERE json_extract(last_materialization, '$.event_log_entry.run_id') = ?
