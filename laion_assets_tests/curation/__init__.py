"""Tests of the reader of `curation.toml`."""
