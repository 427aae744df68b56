-- Out: nothing of use. The session is not ended for being idle, and one whose machine is gone ends within a minute.
SELECT
    set_config('idle_session_timeout', '0', false),
    set_config('statement_timeout', '0', false),
    set_config('tcp_keepalives_idle', '15', false),
    set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '6', false)
