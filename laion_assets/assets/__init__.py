"""The assets, a module each; `definitions.py` collects them."""
