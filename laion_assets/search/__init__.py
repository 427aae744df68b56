"""Searches the captions of a release."""
