-- In: the view `source`.  Out: every rough authority of its URLs, once, and the host in it, NULL where there is none.
SELECT authority, url_host('http://' || authority || '/') AS domain
FROM (SELECT DISTINCT rough_authority(url) AS authority FROM source)
