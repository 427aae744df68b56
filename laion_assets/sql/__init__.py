"""The SQL of the project: one statement a file, what goes in and comes out said on top."""
