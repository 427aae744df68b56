"""The list of what must not be shown or released: reads it, and finds the rows that are on it."""
