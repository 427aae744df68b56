-- Defines rejection_reason(url, host, caption): why a row cannot be used, NULL if it can. A reason of the URL goes first.
CREATE OR REPLACE TEMP MACRO rejection_reason(url, host, caption) AS
    CASE
        WHEN is_blank(url) THEN 'missing_url'
        WHEN host IS NULL THEN 'invalid_url'
        WHEN is_blank(caption) THEN 'missing_caption'
    END
