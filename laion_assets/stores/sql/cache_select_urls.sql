-- Out: digest, url, final_url, md5 of all that was asked for (SQLite).
SELECT digest, url, final_url, md5
FROM fetched
