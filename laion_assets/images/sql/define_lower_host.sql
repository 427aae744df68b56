-- Defines lower_host(host): lower case up to a %, as urlsplit does it; İ as Unicode has it, not as DuckDB.
CREATE OR REPLACE TEMP MACRO lower_host(host) AS
    CASE
        WHEN contains(host, '%') THEN
            lower(replace(split_part(host, '%', 1), 'İ', 'i' || chr(775))) || regexp_extract(host, '%(?s:.*)$')
        ELSE lower(replace(host, 'İ', 'i' || chr(775)))
    END
