"""Finds the vectors of a table that are nearest to another, by the index if there is one."""

from __future__ import annotations

import math
import struct
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from laion_assets.embeddings.add_embeddings import COLUMN
from laion_assets.embeddings.vector_index import METRIC
from laion_assets.embeddings.vector_rows import read_column

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Of so many times as many candidates as are wanted the distance is measured, not estimated.
REFINE_FACTOR = 10
# Of a long list fewer are enough: the estimate is wrong about the last ones alone, and reading the
# vectors of the candidates takes most of the time.
MANY_CANDIDATES = 500
LEAST_REFINE_FACTOR = 2
# Of fewer rows than this share, Lance looks through all partitions until it has enough.
FEW = 0.1
# Up to so many rows, comparing all of them is quicker than the index: 3 MB at 768 dimensions.
MAX_COMPARED = 2048
# A container of a roaring bitmap with more values than this is a map of bits.
MOST_LISTED = 4096
CONTAINER = 1 << 16
# The form of a roaring bitmap whose containers are lists and maps.
ROARING_COOKIE = 12346


class Nearest(NamedTuple):
    """The nearest vectors.

    Attributes:
        rows: their row ids, the nearest first; those of one distance by row id.
        similarities: the cosine of each, at most 1.
    """

    rows: Numbers
    similarities: Numbers


class FewVectors(NamedTuple):
    """The vectors of a few rows, to be compared one by one.

    Attributes:
        rows: the ids of those that have one, ascending.
        values: a float16 row for each.
        lengths: the length of each, not quite 1.
    """

    rows: Numbers
    values: Numbers
    lengths: Numbers


def read_few(dataset: lance.LanceDataset, rows: Numbers) -> FewVectors:
    """Reads the vectors of a few rows of the table.

    Args:
        dataset: a version of the table `images` with vectors.
        rows: row ids, ascending; at most `MAX_COMPARED`, so that the vectors may be kept.
    """
    import numpy as np
    import pyarrow as pa

    lists = dataset._take_rows(pa.array(rows, pa.uint64()), columns=[COLUMN])[COLUMN]
    values, is_there = read_column(lists.combine_chunks(), lists.type.list_size)
    values = values[is_there]
    return FewVectors(rows[is_there], values, np.linalg.norm(values.astype(np.float64), axis=1))


def compare_few(
    few: FewVectors, vector: Numbers, count: int, without: int | None = None
) -> Nearest:
    """Returns so many of the nearest of a few vectors, or all there are.

    Args:
        few: the vectors.
        vector: of the same dimension, of any length but 0.
        count: how many.
        without: a row id that is left out.
    """
    import numpy as np

    # Not by BLAS: its threads wait for each other longer than this takes, and it adds the last rows
    # in another order, so that equal vectors may get different cosines.
    wide = vector.astype(np.float64)
    products = np.einsum("ij,j->i", few.values.astype(np.float64), wide / np.linalg.norm(wide))
    cosines = products / few.lengths
    similarities = np.minimum(cosines.astype(np.float32), 1).astype(np.float64)
    order = np.lexsort((few.rows, -similarities))
    if without is not None:
        order = order[few.rows[order] != without]
    return Nearest(few.rows[order[:count]], similarities[order[:count]])


def find_nearest(
    dataset: lance.LanceDataset,
    vector: Numbers,
    count: int,
    *,
    nprobes: int,
    allowed: bytes | None = None,
    share: float = 1,
    without: bytes | None = None,
) -> Nearest:
    """Returns so many of the nearest vectors, or all that are allowed.

    Rows that the index does not cover are measured one by one, and so are all without an index.

    Args:
        dataset: a version of the table `images` with vectors.
        vector: of the same dimension, of any length but 0.
        count: how many.
        nprobes: partitions of the index to look into, where all rows may be found; 0 without an
            index.
        allowed: `pack_rows` of the rows that may be found; None: all.
        share: of all rows, those; the fewer they are, the more partitions have to be looked into.
        without: `pack_rows` of rows that may not be found; None: none.
    """
    import numpy as np

    asked: dict[str, Any] = {
        "column": COLUMN,
        "q": vector.astype(np.float32),
        "k": count,
        "metric": METRIC,
        "refine_factor": max(LEAST_REFINE_FACTOR, min(REFINE_FACTOR, MANY_CANDIDATES // count)),
    }
    limits = {}
    if nprobes:
        asked["minimum_nprobes"] = nprobes
        # Those that pass may be of one kind, and then the nearest of them are far away.
        if share > FEW:
            limits["maximum_nprobes"] = math.ceil(nprobes / share)
    scan = partial(
        dataset.scanner,
        columns=["_distance"],
        row_addr_allowlist=allowed,
        row_addr_blocklist=without,
        with_row_id=True,
    )
    found = scan(nearest={**asked, **limits}).to_table()
    if limits and found.num_rows < count:
        # Those that may be found are all far from it.
        found = scan(nearest=asked).to_table()
    distances, rows = found["_distance"].to_numpy(), found["_rowid"].to_numpy()
    order = np.lexsort((rows, distances))
    # Rounding puts some equal ones a little beyond.
    similarities = np.minimum(1 - distances[order].astype(np.float64), 1)
    return Nearest(rows[order], similarities)


def pack_rows(rows: Numbers) -> bytes:
    """Returns row ids as Lance takes a list of those that may be found.

    That is for each fragment its number and a roaring bitmap of the places in it.

    Args:
        rows: row ids, ascending, each once.
    """
    import numpy as np

    fragments = (rows >> np.uint64(32)).astype(np.uint32)
    places = (rows & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    parts = [b""]
    for start, end in _cut(fragments):
        bitmap = _pack_bitmap(places[start:end])
        parts.append(struct.pack("<II", fragments[start], len(bitmap)) + bitmap)
    parts[0] = struct.pack("<I", len(parts) - 1)
    return b"".join(parts)


def _pack_bitmap(places: Numbers) -> bytes:
    import numpy as np

    highs, lows = (places >> 16).astype("<u2"), (places & 0xFFFF).astype("<u2")
    pieces = _cut(highs)
    containers = []
    for start, end in pieces:
        content = lows[start:end]
        if end - start > MOST_LISTED:
            bits = np.zeros(CONTAINER, bool)
            bits[content] = True
            content = np.packbits(bits, bitorder="little")
        containers.append(content.tobytes())
    keys = b"".join(struct.pack("<HH", highs[start], end - start - 1) for start, end in pieces)
    head = struct.pack("<II", ROARING_COOKIE, len(pieces)) + keys
    sizes = [len(head) + 4 * len(pieces), *map(len, containers)]
    offsets = np.cumsum(sizes)[:-1].astype("<u4").tobytes()
    return b"".join((head, offsets, *containers))


def _cut(ascending: Numbers) -> list[tuple[int, int]]:
    """Returns where each stretch of equal numbers begins and ends."""
    import numpy as np

    if not len(ascending):
        return []
    edges = [0, *(np.flatnonzero(np.diff(ascending)) + 1).tolist(), len(ascending)]
    return list(pairwise(edges))
