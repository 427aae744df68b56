-- Judges every row of `source`.  Out: the view `cleaned`, with domain and reason (NULL: the row is good).
CREATE OR REPLACE TEMP VIEW cleaned AS
SELECT *, rejection_reason(url, domain, caption) AS reason
FROM (SELECT *, url_host(url) AS domain FROM source)
