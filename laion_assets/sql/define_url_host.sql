-- Defines url_host(url): the host that Python's urlsplit(url).hostname gives, NULL where it gives none or refuses.
-- Source: CPython 3.11 urllib.parse. A malformed IPv6 address in brackets is not told from a good one.
CREATE OR REPLACE TEMP MACRO url_host(url) AS
    CASE
        -- The plain URL, 999 in 1,000: nothing to strip, fold or refuse.
        WHEN regexp_matches(url, '^https?://[a-z0-9.-]+/') THEN split_part(url, '/', 3)
        ELSE nullif(host_of_authority(url_authority(url)), '')
    END
