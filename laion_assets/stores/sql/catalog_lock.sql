-- In: key of a lock.  Out: whether this session has it now; it keeps it until it ends.
SELECT pg_try_advisory_lock($key)
