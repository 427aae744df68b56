"""Tests of declared columns."""
