"""Computes vectors of the pictures of a shard into the cache, some thousand at a time.

A run that is cut off has kept what it had, and the next one goes on from there.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.embeddings.encoder import Encoder
from laion_assets.embeddings.unit_vectors import find_good, normalise
from laion_assets.errors import LaionError, StaleTableError
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets.stores.shard_fragments import find_fragments, select_shards
from laion_assets.stores.vector_cache import VectorCache

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

# So many pictures are held at once, and their pixels: 40 MB for most models.
HELD_PICTURES = 64
REPORT_INTERVAL_S = 15
FLOAT16_BYTES = 2
PICTURE_COLUMN = "picture_sha256"

# Is told how far it is, in a sentence.
Report = Callable[[str], None]


@dataclass(frozen=True)
class Computing:
    """How vectors are computed.

    Attributes:
        open_encoder: opens the encoder, when it is first needed.
        cache_dir: folder of the cache.
        chunk_rows: pictures after which the vectors are kept for good.
        report: is told now and then how far it is.
    """

    open_encoder: Callable[[], Encoder]
    cache_dir: Path
    chunk_rows: int
    report: Report

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder."""
        return self.open_encoder()

    @cached_property
    def cache(self) -> VectorCache:
        """Vectors of this encoder."""
        return VectorCache(self.cache_dir, self.encoder.digest)

    def open_cache(self, store: LanceStore, shard: str) -> VectorCache:
        """Returns the same cache, which shares with other machines what it gets for a shard."""
        chunks = ShardChunks.of(store, shard, "vectors", self.encoder.digest)
        return replace(self.cache, chunks=chunks)


def has_pictures(store: LanceStore, shard: str) -> bool:
    """Returns whether a row of the shard has a picture in Lance."""
    dataset = store.open("images")
    if PICTURE_COLUMN not in dataset.schema.names:
        return False
    is_there = f"{select_shards([shard])} AND {PICTURE_COLUMN} IS NOT NULL"
    table = dataset.scanner(columns=[PICTURE_COLUMN], filter=is_there, limit=1).to_table()
    return bool(table.num_rows)


def compute_missing(
    store: LanceStore, shard: str, computing: Computing, is_wanted: NDArray[np.bool_] | None
) -> int:
    """Computes the vectors of pictures that the cache does not have.

    Args:
        store: has the pictures.
        shard: partition key.
        computing: how.
        is_wanted: for each row of the shard's file, whether it needs one; None: all do.

    Returns:
        How many were computed.

    Raises:
        DiskSpaceError: the disk has no room for them.
        LaionError: the encoder cannot be used.
    """
    dataset = store.open("images")
    numbers = find_fragments(dataset, shard)
    rows = dataset.scanner(
        columns=["row_index", PICTURE_COLUMN],
        fragments=[f for f in dataset.get_fragments() if f.fragment_id in numbers],
        filter=f"{select_shards([shard])} AND {PICTURE_COLUMN} IS NOT NULL",
        with_row_address=True,
    ).to_table()
    if is_wanted is not None:
        import pyarrow as pa

        rows = rows.filter(pa.array(is_wanted[rows["row_index"].to_numpy()]))
    pairs = zip(rows[PICTURE_COLUMN].to_pylist(), rows["_rowaddr"].to_pylist(), strict=True)
    addresses = dict(pairs)
    cache = computing.open_cache(store, shard)
    if known := sum(map(len, cache.take_chunks())):
        computing.report(f"goes on from {known:,} vectors that were computed before")
    missing = list(cache.find_missing(addresses))
    needed = LEAST_BYTES + 2 * len(missing) * computing.encoder.dimension * FLOAT16_BYTES
    check_space(computing.cache_dir, needed, f"computing the vectors of shard {shard!r}")
    started = told_at = time.monotonic()
    for start in range(0, len(missing), computing.chunk_rows):
        chunk = missing[start : start + computing.chunk_rows]
        vectors: dict[str, bytes | None] = {}
        for first in range(0, len(chunk), HELD_PICTURES):
            pictures = chunk[first : first + HELD_PICTURES]
            images = _take(dataset, shard, [addresses[picture] for picture in pictures])
            vectors |= zip(pictures, _embed(computing.encoder, images), strict=True)
        cache.put(vectors)
        if time.monotonic() > told_at + REPORT_INTERVAL_S:
            told_at = time.monotonic()
            done = start + len(chunk)
            speed = done / max(told_at - started, 0.001)
            computing.report(f"{done:,} of {len(missing):,} vectors, {speed:,.0f} a second")
    return len(missing)


def _take(dataset: object, shard: str, addresses: Sequence[int]) -> Sequence[bytes]:
    """Returns the pictures at these addresses, in their order."""
    import numpy as np
    import pyarrow as pa

    order = np.argsort(addresses)
    ascending = pa.array(np.array(addresses, np.uint64)[order])
    taken = dataset._take_rows(ascending, columns=["image"])  # type: ignore[attr-defined]
    images: list[bytes | None] = taken["image"].to_pylist()
    if len(images) != len(addresses) or None in images:
        raise StaleTableError(
            f"shard {shard!r}: its pictures were replaced while they were read; run it again",
            code="vectors-pictures-replaced",
            is_passing=True,
        )
    places = np.argsort(order)
    return [image for place in places if (image := images[place]) is not None]


def _embed(encoder: Encoder, images: Sequence[bytes]) -> list[bytes | None]:
    """Returns for each picture its vector as float16; None if it has none."""

    def prepare(image: bytes) -> NDArray[np.float32] | None:
        try:
            return encoder.prepare(image)
        except LaionError:
            return None

    # Pillow warns of what it reads anyway.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
        prepared = list(pool.map(prepare, images))
    found = encoder.embed_prepared([pixels for pixels in prepared if pixels is not None])
    units = normalise(found)
    vectors = iter(zip(units.values, find_good(units), strict=True))
    result: list[bytes | None] = []
    for pixels in prepared:
        if pixels is None:
            result.append(None)
            continue
        vector, is_good = next(vectors)
        result.append(vector.tobytes() if is_good else None)
    return result


def read_vectors(
    cache: VectorCache, pictures: pa.Array, dimension: int
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Returns vectors of pictures, a row for each, and which of them there are.

    Args:
        cache: has them.
        pictures: SHA-256 of each; NULL: there is no picture.
        dimension: numbers of a vector.
    """
    import numpy as np

    names = pictures.to_pylist()
    known = cache.read({name for name in names if name is not None})
    values = np.zeros((len(names), dimension), np.float16)
    is_there = np.zeros(len(names), bool)
    for row, name in enumerate(names):
        vector = None if name is None else known.get(name)
        if vector is not None:
            values[row] = np.frombuffer(vector, np.float16)
            is_there[row] = True
    return values, is_there
