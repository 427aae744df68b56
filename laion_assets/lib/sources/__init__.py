"""Where shards come from: lists what `LAION_SHARDS` names, and brings one file home."""
