"""Reads the vectors that a shard brings, row by row in bounded memory.

They are in a column of the parquet file, lists of one length, or in a `.npy` file beside it, which
has one for each row of that file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laion_assets.embeddings.npy_file import NpyFile, open_npy
from laion_assets.errors import ShardError
from laion_assets.raw_shards.row_parts import RowParts
from laion_assets.raw_shards.vector_files import (
    HELD_BYTES,
    find_dimension,
    find_vector_column,
    read_lists,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow.parquet as pq
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Vectors:
    """Vectors of some rows.

    Attributes:
        values: a row for each, of any length; float16, float32 or float64.
        is_given: which of the rows have one.
    """

    values: NDArray[Any]
    is_given: NDArray[np.bool_]

    def __len__(self) -> int:
        """The rows."""
        return len(self.values)


class GivenVectors:
    """The vectors that a shard brings.

    Args:
        dimension: numbers of each; None if no row has one.
        parts: those of all rows of the file, in its order.
    """

    def __init__(self, dimension: int | None, parts: Iterator[Vectors]) -> None:
        self.dimension = dimension
        self._parts = RowParts(parts)

    def take(self, rows: NDArray[np.int64]) -> Iterator[Vectors]:
        """Yields the vectors of these rows, in parts of a bounded size.

        Args:
            rows: places in the file, ascending, each after those of the call before.
        """
        for part, places in self._parts.take(rows):
            is_run = int(places[-1] - places[0]) + 1 == len(places)
            # Most often no row is missing, and nothing has to be copied.
            some = slice(int(places[0]), int(places[-1]) + 1) if is_run else places
            yield Vectors(part.values[some], part.is_given[some])


@contextmanager
def open_given(path: Path, beside: Path | None) -> Iterator[GivenVectors]:
    """Opens the vectors of a shard.

    Args:
        path: the verified parquet file.
        beside: the `.npy` file; None if there is none. The column comes first.

    Raises:
        ShardError: the file beside it cannot be used, or a row has more or fewer numbers than
            others; the latter once that row is read.
    """
    import pyarrow.parquet as pq

    # Read bit by bit: it would else hold the whole of a row group.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        column = find_vector_column(file.schema_arrow)
        if column is not None:
            dimension = find_dimension(file, column, path)
            parts = iter(()) if dimension is None else _read_column(file, column, dimension, path)
            yield GivenVectors(dimension, parts)
        elif beside is None:
            yield GivenVectors(None, iter(()))
        else:
            with open_npy(beside, file.metadata.num_rows) as npy:
                yield GivenVectors(npy.dimension, _read_npy(npy))


def _read_npy(npy: NpyFile) -> Iterator[Vectors]:
    import numpy as np

    for values in npy.read(HELD_BYTES):
        yield Vectors(values, np.ones(len(values), bool))


def _read_column(
    file: pq.ParquetFile, column: str, dimension: int, path: Path
) -> Iterator[Vectors]:
    import numpy as np
    import pyarrow.compute as pc

    start = 0
    for lists in read_lists(file, column, path):
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
        is_given = lengths > 0
        is_other = is_given & (lengths != dimension)
        if is_other.any():
            row = int(is_other.argmax())
            raise ShardError(
                f"{path}: row {start + row} of {column} has {lengths[row]} numbers, and others "
                f"have {dimension}; make them of one length",
                code="vectors-lengths",
            )
        # A NULL inside of a vector is no number either.
        numbers = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
        values = np.zeros((len(lists), dimension), numbers.dtype)
        values[is_given] = numbers.reshape(-1, dimension)
        yield Vectors(values, is_given)
        start += len(lists)
