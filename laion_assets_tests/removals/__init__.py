"""Tests of the list of removals."""
