"""Releases with vectors in clusters, as those of pictures are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from laion_assets.embeddings.add_embeddings import add_embeddings
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pipeline import bring

DIMENSION = 32
CLUSTERS = 60
Vectors = NDArray[Any]


def cluster(count: int, seed: int = 1, dimension: int = DIMENSION) -> Vectors:
    """Returns vectors of unit length around a few centres, which are the same for each seed."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, dimension))
    chance = np.random.default_rng(seed)
    vectors = centres[chance.integers(0, CLUSTERS, count)]
    vectors = vectors + 0.6 * chance.standard_normal((count, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype("f4")


def bring_vectors(
    settings: Settings, shard: str, vectors: Vectors | list[Any], **columns: Any
) -> None:
    """Brings a shard to Lance whose rows have these vectors; its captions are its row numbers."""
    count = len(vectors)
    numbers = [None if vector is None else list(map(float, vector)) for vector in vectors]
    rows = {
        "url": [f"https://{shard}.test/{row}.jpg" for row in range(count)],
        "caption": [f"row {row} of {shard}" for row in range(count)],
        "img_emb": pa.array(numbers, pa.list_(pa.float32())),
        **columns,
    }
    bring(settings, shard, pa.table(rows))
    add_vectors(settings, shard)


def add_vectors(settings: Settings, shard: str) -> None:
    """Adds the vectors that the shard's file brings."""
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    add_embeddings(*stores, RawStore(settings.raw_dir), shard, "run")
