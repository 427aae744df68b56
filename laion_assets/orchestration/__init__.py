"""What all assets share: the decorator, failures, metadata of their pages."""
