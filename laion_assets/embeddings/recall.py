"""Measures how many of the nearest vectors the index finds, and how far it has to look for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.embeddings.add_embeddings import COLUMN
from laion_assets.embeddings.nearest import find_nearest
from laion_assets.embeddings.vector_index import count_partitions
from laion_assets.stores.shard_fragments import list_fragments_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

SAMPLE_COUNT = 200
NEIGHBOURS = 10
# Partitions to look into at first; twice as many as long as too little is found.
FIRST_NPROBES = 16
WANTED_RECALL = 0.98
BATCH_ROWS = 8192
# Vectors of one similarity stand for each other. Lance adds in another order than numpy.
ROUNDING = 1e-5


@dataclass(frozen=True)
class MeasuredVectors:
    """What was measured of the vectors of a table.

    Attributes:
        vector_count: rows that have one.
        dimension: numbers of each.
        partition_count: of the index; 0 if there is none, so that all vectors are compared.
        nprobes: partitions to look into so that enough is found; 0 without an index.
        recall_at_10: which share of the ten nearest others is found, over the sampled rows; 1.0
            without an index.
        sample_count: rows whose neighbours were looked for; 0 without an index.
    """

    vector_count: int
    dimension: int
    partition_count: int
    nprobes: int
    recall_at_10: float
    sample_count: int


def measure_vectors(dataset: lance.LanceDataset) -> MeasuredVectors | None:
    """Compares what the index finds with what comparing all vectors finds.

    The sampled rows stand at equal distances in the table.

    Args:
        dataset: a version of the table `images`.

    Returns:
        What was measured; None if there is no vector.
    """
    import numpy as np

    if COLUMN not in dataset.schema.names:
        return None
    rows = np.sort(np.concatenate([np.zeros(0, np.uint64), *_list_rows(dataset)]))
    if not len(rows):
        return None
    dimension = dataset.schema.field(COLUMN).type.list_size
    partitions = count_partitions(dataset)
    neighbours = min(NEIGHBOURS, len(rows) - 1)
    if not (partitions and neighbours):
        return MeasuredVectors(len(rows), dimension, 0, 0, 1.0, 0)
    chosen = rows[np.linspace(0, len(rows) - 1, min(SAMPLE_COUNT, len(rows))).astype(np.int64)]
    vectors = _take_vectors(dataset, chosen)
    limits = _measure_limits(dataset, chosen, vectors, neighbours)
    nprobes = FIRST_NPROBES
    while True:
        shares = []
        for row, vector, limit in zip(chosen, vectors, limits, strict=True):
            # One more, as the row itself is found too.
            found = find_nearest(dataset, vector, neighbours + 1, nprobes=nprobes)
            others = found.similarities[found.rows != row][:neighbours]
            shares.append(np.count_nonzero(others >= limit - ROUNDING) / neighbours)
        recall = float(np.mean(shares))
        if recall >= WANTED_RECALL or nprobes >= partitions:
            return MeasuredVectors(
                len(rows), dimension, partitions, nprobes, round(recall, 4), len(chosen)
            )
        nprobes *= 2


def _list_rows(dataset: lance.LanceDataset) -> Iterator[Numbers]:
    """Yields the ids of the rows that have a vector."""
    scanner = dataset.scanner(
        columns=[],
        filter=f"{COLUMN} IS NOT NULL",
        with_row_id=True,
        fragments=list_fragments_with(dataset, [COLUMN]),
        batch_size=BATCH_ROWS,
        use_scalar_index=False,
    )
    for batch in scanner.to_batches():
        yield batch["_rowid"].to_numpy()


def _take_vectors(dataset: lance.LanceDataset, rows: Numbers) -> Numbers:
    import pyarrow as pa

    taken = dataset._take_rows(pa.array(rows), columns=[COLUMN])[COLUMN].combine_chunks()
    return _make_units(taken)


def _make_units(vectors: Any) -> Numbers:
    """Returns an array of lists as a matrix, a row for each, of unit length once more."""
    import numpy as np

    matrix: Numbers = vectors.flatten().to_numpy().astype(np.float32)
    matrix = matrix.reshape(len(vectors), -1)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix


def _measure_limits(
    dataset: lance.LanceDataset, chosen: Numbers, vectors: Numbers, neighbours: int
) -> Numbers:
    """Returns for each chosen row the similarity of its last neighbour, by comparing all."""
    import numpy as np

    best = np.full((len(chosen), neighbours), -np.inf, np.float32)
    # Lance would else read far ahead.
    scanner = dataset.scanner(
        columns=[COLUMN],
        filter=f"{COLUMN} IS NOT NULL",
        with_row_id=True,
        fragments=list_fragments_with(dataset, [COLUMN]),
        batch_size=BATCH_ROWS,
        batch_readahead=2,
        fragment_readahead=1,
        io_buffer_size=64 << 20,
    )
    for batch in scanner.to_batches():
        similarities = vectors @ _make_units(batch[COLUMN]).T
        # A row is no neighbour of itself.
        similarities[chosen[:, None] == batch["_rowid"].to_numpy()[None, :]] = -np.inf
        both = np.concatenate([best, similarities], axis=1)
        best = -np.partition(-both, neighbours - 1, axis=1)[:, :neighbours]
    limits: Numbers = best.min(axis=1)
    return limits
