"""The stage `embeddings`: the vector of each picture."""
