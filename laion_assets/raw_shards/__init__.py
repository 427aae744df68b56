"""The verified parquet file of each shard: where it comes from, how it is fetched and checked."""
