-- Defines host_of_host_and_port(host_and_port): the host without port, lower case; NULL for brackets around another
-- thing than an IPv6 address (two colons or more), or with text outside that is no port.
CREATE OR REPLACE TEMP MACRO host_of_host_and_port(host_and_port) AS
    CASE
        WHEN NOT regexp_matches(host_and_port, '[\[\]]') THEN
            list_transform([split_part(host_and_port, ':', 1)], lambda host: lower_host(host))[1]
        WHEN regexp_matches(
            host_and_port, '^\[([0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[^\[\]]*)?|v[0-9A-Fa-f]+\.[^\[\]]+)\](:.*)?$'
        ) THEN list_transform([regexp_extract(host_and_port, '\[([^\]]*)\]', 1)], lambda host: lower_host(host))[1]
    END
