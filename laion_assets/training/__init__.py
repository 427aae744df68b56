"""Streams a split of a release to a training loop, in an order that a seed fixes."""

from laion_assets.training.split_stream import SplitStream, open_split
from laion_assets.training.torch_loader import SplitLoader, collate, make_loader, start_workers

__all__ = ["SplitLoader", "SplitStream", "collate", "make_loader", "open_split", "start_workers"]
