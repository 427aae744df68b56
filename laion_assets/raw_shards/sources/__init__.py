"""Where shards come from: folders, web servers, the Hugging Face Hub, buckets, Lance datasets."""
