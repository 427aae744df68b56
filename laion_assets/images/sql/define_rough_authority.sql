-- Defines rough_authority(url): a short text that has the host, so that each host is looked for once and not in each row:
-- url_host('http://' || rough_authority(url) || '/') = url_host(url).
-- What follows the first / after // is never part of an authority; the rest is cut off by url_host.
-- split_part checks for NULL and does the same, which takes a quarter longer.
CREATE OR REPLACE TEMP MACRO rough_authority(url) AS
    CASE
        WHEN starts_with(url, 'http://') OR starts_with(url, 'https://') THEN string_split(url, '/')[3]
        ELSE url_authority(url)
    END
