-- In: the id of a run.  Out: what the checks of the run said is gone from Dagster's history (SQLite).
DELETE FROM asset_check_executions WHERE run_id = ?
