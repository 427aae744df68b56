"""Measures how many of the nearest vectors the index finds, and how far it has to look for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.embeddings.add_embeddings import COLUMN
from laion_assets.embeddings.nearest import find_nearest, read_few
from laion_assets.embeddings.vector_index import count_partitions
from laion_assets.stores.shard_fragments import list_fragments_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    import lance
    import numpy as np
    import pyarrow as pa

    Numbers: TypeAlias = np.ndarray[Any, Any]

SAMPLE_COUNT = 200
# Rows that are looked at to find so many with a vector, before all rows are.
MOST_TRIED = 2000
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
    partitions = count_partitions(dataset)
    chosen, vectors = _choose_rows(dataset) if partitions else _choose_none(dataset)
    vector_count, best = compare_with_all(dataset, chosen, vectors)
    if not vector_count:
        return None
    dimension = vectors.shape[1]
    neighbours = min(NEIGHBOURS, vector_count - 1)
    if not (partitions and neighbours):
        return MeasuredVectors(vector_count, dimension, 0, 0, 1.0, 0)
    limits = best[:, neighbours - 1]
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
                vector_count, dimension, partitions, nprobes, round(recall, 4), len(chosen)
            )
        nprobes *= 2


def _choose_rows(dataset: lance.LanceDataset) -> tuple[Numbers, Numbers]:
    """Returns the ids of the sampled rows, ascending, and their vectors.

    All vectors are read only once, to compare them. So the rows are chosen before it is known which
    have one: some more are tried where too many have none, and only then all are listed.
    """
    import numpy as np

    fragments = list_fragments_with(dataset, [COLUMN])
    sizes = np.array([fragment.physical_rows for fragment in fragments], np.int64)
    ids = np.array([fragment.fragment_id for fragment in fragments], np.uint64)
    ends, total = np.cumsum(sizes), int(sizes.sum())
    is_whole = not any(fragment.num_deletions for fragment in fragments)
    for tried in (SAMPLE_COUNT, MOST_TRIED) if is_whole else ():
        places = _spread(total, tried)
        of = np.searchsorted(ends, places, side="right")
        rows = (ids[of] << np.uint64(32)) + (places - (ends - sizes)[of]).astype(np.uint64)
        found = _take_vectors(dataset, np.sort(rows))
        if len(found[0]) >= SAMPLE_COUNT or tried >= total:
            some = _spread(len(found[0]), SAMPLE_COUNT)
            return found[0][some], found[1][some]
    rows = np.sort(np.concatenate([np.zeros(0, np.uint64), *_list_rows(dataset)]))
    return _take_vectors(dataset, rows[_spread(len(rows), SAMPLE_COUNT)])


def _choose_none(dataset: lance.LanceDataset) -> tuple[Numbers, Numbers]:
    import numpy as np

    dimension = dataset.schema.field(COLUMN).type.list_size
    return np.zeros(0, np.uint64), np.zeros((0, dimension), np.float32)


def _spread(total: int, count: int) -> Numbers:
    """Returns so many of the numbers below a total, or all of them, at equal distances."""
    import numpy as np

    return np.linspace(0, max(total - 1, 0), min(count, total)).astype(np.int64)


def _list_rows(dataset: lance.LanceDataset) -> Iterator[Numbers]:
    """Yields the ids of the rows that have a vector; reads all vectors."""
    for batch in _scan(dataset, []):
        yield batch["_rowid"].to_numpy()


def _scan(dataset: lance.LanceDataset, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yields the rows that have a vector, with their ids."""
    # Lance would else read far ahead.
    scanner = dataset.scanner(
        columns=columns,
        filter=f"{COLUMN} IS NOT NULL",
        with_row_id=True,
        fragments=list_fragments_with(dataset, [COLUMN]),
        batch_size=BATCH_ROWS,
        batch_readahead=2,
        fragment_readahead=1,
        io_buffer_size=64 << 20,
    )
    yield from scanner.to_batches()


def _take_vectors(dataset: lance.LanceDataset, rows: Numbers) -> tuple[Numbers, Numbers]:
    """Returns those of the rows that have a vector, and their vectors."""
    import numpy as np

    found = read_few(dataset, rows)
    return found.rows, (found.values / found.lengths[:, None]).astype(np.float32)


def _make_units(vectors: Any) -> Numbers:
    """Returns an array of lists as a matrix, a row for each, of unit length once more."""
    import numpy as np

    matrix: Numbers = vectors.flatten().to_numpy().astype(np.float32)
    matrix = matrix.reshape(len(vectors), -1)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix


def compare_with_all(
    dataset: lance.LanceDataset, chosen: Numbers, vectors: Numbers
) -> tuple[int, Numbers]:
    """Compares the vectors of some rows with all others, in one pass over the table.

    Args:
        dataset: a version of the table `images` with the column of vectors.
        chosen: ids of the rows; there may be none.
        vectors: a row for each, of unit length.

    Returns:
        How many rows have a vector; for each chosen row the similarities of its nearest others,
        the greatest first, -inf where there are no more.
    """
    import numpy as np

    best, count = np.full((len(chosen), NEIGHBOURS), -np.inf, np.float32), 0
    for batch in _scan(dataset, [COLUMN] if len(chosen) else []):
        count += len(batch)
        if not len(chosen):
            continue
        similarities = vectors @ _make_units(batch[COLUMN]).T
        # A row is no neighbour of itself.
        similarities[chosen[:, None] == batch["_rowid"].to_numpy()[None, :]] = -np.inf
        both = np.concatenate([best, similarities], axis=1)
        best = -np.partition(-both, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    return count, -np.sort(-best, axis=1)
