-- Reads geometries as plain bytes: a file is not refused for the metadata of a column that nobody reads.
SET enable_geoparquet_conversion = false
