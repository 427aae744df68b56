"""The cleaned rows of each shard, as the DuckDB table `images`."""
