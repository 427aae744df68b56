"""Adds the columns that `curation.toml` declares to the rows of each shard in Lance."""
