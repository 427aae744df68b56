-- Out: every domain of `images`, once. DuckDB packs the column with a dictionary, so this reads little.
SELECT DISTINCT domain FROM images
