"""Fetches pictures from the URLs of strangers: politely, safely, and so that it always ends."""
