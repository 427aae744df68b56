"""Reads `curation.toml`: what a user declares of their own, and checks it before anything runs."""
