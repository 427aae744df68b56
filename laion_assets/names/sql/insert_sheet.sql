-- In: the columns of `sheets`.  Out: a record of the kind's table.
INSERT INTO sheets BY NAME
SELECT
    $kind AS kind,
    $location AS location,
    $sha256 AS sha256,
    $etag AS etag,
    $name_header AS name_header,
    $name_count AS name_count,
    $previous_count AS previous_count,
    $repeated::VARCHAR[] AS repeated,
    $blank_count AS blank_count,
    now() AS changed_at,
    $error_count AS error_count,
    $reading_version AS reading_version
