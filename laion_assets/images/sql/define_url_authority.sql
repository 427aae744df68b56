-- Defines url_authority(url): what stands between // and the path; '' where there is no //.
-- Leading blanks and control characters, and tabs and line breaks anywhere, are not part of a URL (WHATWG).
CREATE OR REPLACE TEMP MACRO url_authority(url) AS
    regexp_extract(
        regexp_replace(regexp_replace(url, '^[\x00-\x20]+', ''), '[\t\r\n]', '', 'g'),
        '^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*)',
        1
    )
