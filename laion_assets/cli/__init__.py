"""The command line `laion`."""
