"""A release as a dataset for everybody: in a folder, or on the Hugging Face Hub."""
