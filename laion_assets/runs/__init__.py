"""Runs jobs in this process, and says what state shards are in."""
