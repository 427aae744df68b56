"""Images per domain, and images whose caption has each name."""
