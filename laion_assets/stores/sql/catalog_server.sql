-- Out: version of the server, and its clock in seconds since 1970.
SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::DOUBLE PRECISION
