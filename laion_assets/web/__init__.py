"""The search page: a release of the Lance tables as web pages, JSON and CSV."""
