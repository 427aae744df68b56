-- Defines lower_host(host): lower case up to a %, as urlsplit does it.
CREATE OR REPLACE TEMP MACRO lower_host(host) AS
    lower(replace(regexp_extract(host, '^[^%]*'), 'İ', 'i' || chr(775))) || regexp_extract(host, '%(?s:.*)$')
