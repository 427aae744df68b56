-- Out: what each session with a lock in this database says of itself, longest first.
SELECT sessions.application_name
FROM pg_stat_activity AS sessions
WHERE sessions.datname = current_database() AND EXISTS (
    SELECT 1 FROM pg_locks AS held
    WHERE held.locktype = 'advisory' AND held.granted AND held.pid = sessions.pid
)
ORDER BY sessions.backend_start
