-- Defines url_host(url): the host that Python's urlsplit(url).hostname gives, NULL where it gives none or refuses.
-- Source: CPython urllib.parse. Two differences: a malformed IPv6 address in brackets is not told from a good
-- one, and Σ is lowered to σ, also at the end of a word.
-- A list of one and a lambda bind what would otherwise be computed again at every mention.
CREATE OR REPLACE TEMP MACRO url_host(url) AS
    CASE
        -- The plain URL: nothing to strip, fold or refuse.
        WHEN regexp_matches(url, '^https?://[a-z0-9.-]+/') THEN split_part(url, '/', 3)
        ELSE nullif(list_transform([url_authority(url)], lambda authority: host_of_authority(authority))[1], '')
    END
