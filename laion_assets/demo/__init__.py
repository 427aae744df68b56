"""Sample data: shards in the manner of LAION, with invented sites and captions, at any size."""
