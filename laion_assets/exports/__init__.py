"""A release as a file for other programs."""
