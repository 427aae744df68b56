-- In: runs, their ids.  Out: what the checks of these runs said is gone from Dagster's history (Postgres).
DELETE FROM asset_check_executions WHERE run_id = ANY($runs) RETURNING run_id
