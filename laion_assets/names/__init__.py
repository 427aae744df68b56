"""The lists of names: artists, celebrities, characters, and kinds of your own."""
