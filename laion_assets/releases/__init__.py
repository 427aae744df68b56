"""One tag for all Lance tables, with the record of what is behind it."""
