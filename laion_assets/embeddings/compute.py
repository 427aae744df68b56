"""Computes vectors of the pictures of a shard into the cache, some thousand at a time.

A run that is cut off has kept what it had, and the next one goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.embeddings.encoder import Encoder
from laion_assets.embeddings.picture_vectors import Pictures, embed_chunks
from laion_assets.embeddings.shared_vectors import Placed, embed_there, split_evenly
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_chunks import ShardChunks
from laion_assets.stores.shard_fragments import find_fragments, select_shards
from laion_assets.stores.vector_cache import VectorCache

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

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
        is_shared: whether free nodes of Ray compute a share.
    """

    open_encoder: Callable[[], Encoder]
    cache_dir: Path
    chunk_rows: int
    report: Report
    is_shared: bool = False

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
    pictures = Pictures(dataset, shard, {picture: addresses[picture] for picture in missing})
    _Computation(computing, cache, pictures).run()
    return len(missing)


class _Computation:
    """Computes vectors into the cache, here and on other nodes, and says how far it is."""

    def __init__(self, computing: Computing, cache: VectorCache, pictures: Pictures) -> None:
        self._computing = computing
        self._cache = cache
        self._pictures = pictures
        self._left = set(pictures.addresses)
        self._started = self._told_at = time.monotonic()

    def run(self) -> None:
        """Computes all that are missing."""
        computing, chunks, rows = self._computing, self._cache.chunks, self._computing.chunk_rows
        missing = list(self._pictures.addresses.items())
        if not computing.is_shared or chunks is None or len(missing) <= rows:
            self._compute_here(missing)
            return
        from laion_assets.orchestration.other_nodes import SharedWork, share_work

        version = self._pictures.dataset.version
        work = SharedWork(
            here=self._compute_here,
            there=partial(embed_there, computing.open_encoder, chunks, version, rows),
            split=partial(split_evenly, rows),
            take=self._take,
            find_left=lambda share: [placed for placed in share if placed[0] in self._left],
            takes_gpu=True,
        )
        share_work(work, missing)

    def _compute_here(self, share: Sequence[Placed]) -> None:
        encoder, rows = self._computing.encoder, self._computing.chunk_rows
        for vectors in embed_chunks(encoder, self._pictures, [name for name, _ in share], rows):
            self._cache.put(vectors)
            self._left.difference_update(vectors)
            if time.monotonic() > self._told_at + REPORT_INTERVAL_S:
                self._take()
                self._tell()

    def _take(self) -> int:
        """Takes what other nodes have computed; returns how much it was."""
        count = 0
        for vectors in self._cache.take_chunks():
            self._left.difference_update(vectors)
            count += len(vectors)
        return count

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        total = len(self._pictures.addresses)
        done = total - len(self._left)
        speed = done / max(self._told_at - self._started, 0.001)
        self._computing.report(f"{done:,} of {total:,} vectors, {speed:,.0f} a second")


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
