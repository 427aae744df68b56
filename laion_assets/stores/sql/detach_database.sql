-- Closes the file of `laion`.
DETACH laion
