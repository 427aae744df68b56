"""Tells somebody elsewhere what failed: one message for each cause."""
