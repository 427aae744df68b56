-- In: the view `source`.  Out: every host of its URLs, once.
SELECT DISTINCT url_host(url) AS domain FROM source WHERE domain IS NOT NULL
