"""The only package that knows files, URIs and locks."""
