-- The columns are those of FetchedPicture, in its order (SQLite).
SELECT
    url, status, reason, message, is_passing, http_status, final_url, seconds, received_bytes,
    fetched_at, md5, picture, width, height, original_width, original_height, exif
FROM fetched
WHERE digest IN (SELECT value FROM json_each(?))
