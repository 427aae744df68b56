"""Tests of the subsets of releases."""
