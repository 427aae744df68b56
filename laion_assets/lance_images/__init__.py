"""The rows of `images` in the Lance table of that name, one commit a shard."""
