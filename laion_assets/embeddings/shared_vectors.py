"""Cuts the pictures of a shard into shares, and computes the vectors of one on another node."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from laion_assets.embeddings.encoder import Encoder
from laion_assets.embeddings.picture_vectors import Pictures, embed_chunks
from laion_assets.errors import LaionError
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets.stores.vector_cache import VectorCache

# A picture by its SHA-256, and where it is in the table.
Placed = tuple[str, int]


def split_evenly(chunk_rows: int, pictures: Sequence[Placed], count: int) -> list[Sequence[Placed]]:
    """Cuts pictures into shares, not more than this number, of a chunk at least."""
    shares = max(1, min(count, math.ceil(len(pictures) / chunk_rows)))
    size = math.ceil(len(pictures) / shares)
    return [pictures[start : start + size] for start in range(0, len(pictures), size)]


def embed_there(
    open_encoder: Callable[[], Encoder],
    chunks: ShardChunks,
    version: int,
    chunk_rows: int,
    share: Sequence[Placed],
) -> None:
    """Computes vectors on another node than that of the run, into the bucket.

    Args:
        open_encoder: opens the encoder of the run.
        chunks: what gets them.
        version: of the table, which has the pictures at these addresses.
        chunk_rows: pictures of a chunk.
        share: the pictures.

    Raises:
        LaionError: this node has other files of the encoder, or they cannot be used.
    """
    encoder = open_encoder()
    if encoder.digest != chunks.variant:
        raise LaionError(
            f"{encoder.name}: this node has another encoder of this name than the run; give all "
            "nodes the same files",
            code="encoder-differs-between-nodes",
        )
    settings = Settings.from_environment()
    dataset = LanceStore.of(settings).open("images", version)
    cache = VectorCache(settings.picture_cache_dir, encoder.digest, chunks)
    pictures = Pictures(dataset, chunks.shard, dict(share))
    for vectors in embed_chunks(encoder, pictures, [name for name, _ in share], chunk_rows):
        cache.share(vectors)
