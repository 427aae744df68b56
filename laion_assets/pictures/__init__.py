"""The stage `pictures`: the bytes of each picture, and what is known of it."""
