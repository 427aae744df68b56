-- In: the view `source`; in `suspected_hosts` rough authorities of which a URL is on the list of removals.
-- Out: row_index, url of their rows.
SELECT row_index, url
FROM source
WHERE rough_authority(url) IN (SELECT authority FROM suspected_hosts)
