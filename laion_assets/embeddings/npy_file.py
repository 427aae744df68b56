"""Reads vectors from a `.npy` file, some rows at a time.

The file is read, not mapped into memory: what is mapped counts as memory of the process once it was
read, and a file that somebody cuts off meanwhile would end the process without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from laion_assets.errors import ShardError, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT_BYTES = (2, 4, 8)


@dataclass(frozen=True)
class NpyFile:
    """An open file of vectors, one a row.

    Attributes:
        file: stands at the first vector.
        name: what to call it in an error.
        row_count: its vectors.
        dimension: numbers of each.
        dtype: of the numbers.
        is_fortran: whether the first numbers of all vectors come first, then all second ones, and
            so on (Fortran order).
    """

    file: BinaryIO
    name: str
    row_count: int
    dimension: int
    dtype: Any
    is_fortran: bool = False

    def read(self, held_bytes: int) -> Iterator[NDArray[Any]]:
        """Yields all vectors in order, in arrays of about so many bytes.

        Raises:
            ShardError: the file became shorter meanwhile.
        """
        row_bytes = self.dimension * self.dtype.itemsize
        step = max(1, held_bytes // row_bytes)
        read_rows = self._gather_rows if self.is_fortran else self._read_rows
        first = self.file.tell()
        for start in range(0, self.row_count, step):
            yield read_rows(first, start, min(step, self.row_count - start))

    def _read_rows(self, first: int, start: int, count: int) -> NDArray[Any]:
        return self._read_numbers(
            first + start * self.dimension * self.dtype.itemsize, count * self.dimension
        ).reshape(count, self.dimension)

    def _gather_rows(self, first: int, start: int, count: int) -> NDArray[Any]:
        """Returns rows whose numbers lie far from each other, each with those of its neighbours."""
        import numpy as np

        rows = np.empty((count, self.dimension), self.dtype)
        for place in range(self.dimension):
            offset = first + (place * self.row_count + start) * self.dtype.itemsize
            rows[:, place] = self._read_numbers(offset, count)
        return rows

    def _read_numbers(self, offset: int, count: int) -> NDArray[Any]:
        import numpy as np

        self.file.seek(offset)
        content = self.file.read(count * self.dtype.itemsize)
        if len(content) < count * self.dtype.itemsize:
            raise ShardError(f"{self.name}: is cut off; write it again", code="vectors-cut-off")
        return np.frombuffer(content, self.dtype)


@contextmanager
def open_npy(path: Path, row_count: int) -> Iterator[NpyFile]:
    """Opens a file of vectors, and checks it by its header and its size. Nothing is unpickled.

    Args:
        path: the file.
        row_count: rows of the shard's file, of which each has a vector in it.

    Raises:
        ShardError: it is none, is cut off, or does not fit the shard.
    """
    with path.open("rb") as file:
        shape, is_fortran, dtype = _read_header(file, path)
        # Without the places of a structure, an array of objects, or text.
        if dtype.kind != "f" or dtype.itemsize not in FLOAT_BYTES:
            raise ShardError(
                f"{path}: has {dtype}; write it as float16, float32 or float64",
                code="vectors-type",
            )
        if len(shape) != 2 or not shape[1]:  # noqa: PLR2004 - rows and numbers
            raise ShardError(
                f"{path}: has the shape {shape}; it has to be (rows, dimension)",
                code="vectors-shape",
            )
        if shape[0] != row_count:
            raise ShardError(
                f"{path}: has {shape[0]} vectors, and the shard's file {row_count} rows; "
                "bring the file that belongs to it",
                code="vectors-rows",
            )
        _check_size(path, file.tell() + shape[0] * shape[1] * dtype.itemsize)
        yield NpyFile(file, str(path), *shape, dtype, is_fortran)


def read_vector(path: Path) -> NDArray[Any]:
    """Returns the only vector of a file: its numbers alone, or one row of them.

    Raises:
        ShardError: it is no such file, or has more than one.
    """
    import numpy as np

    with path.open("rb") as file:
        shape, _, dtype = _read_header(file, path)
        if dtype.kind != "f" or not shape or shape[:-1] not in {(), (1,)}:
            raise ShardError(
                f"{path}: has {dtype} of the shape {shape}, and not one vector; write it with "
                "`numpy.save`",
                code="vector-shape",
            )
        _check_size(path, file.tell() + shape[-1] * dtype.itemsize)
        return np.frombuffer(file.read(), dtype)


def _check_size(path: Path, needed: int) -> None:
    found = path.stat().st_size
    if found != needed:
        what = "is cut off" if found < needed else "is too long"
        raise ShardError(
            f"{path}: {what}, {found} bytes instead of {needed}; write it again",
            code="vectors-size",
        )


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, Any]:
    from numpy.lib import format as npy

    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(file)
        if version not in readers:
            raise ShardError(
                f"{path}: is .npy of version {version}; write it with `numpy.save`",
                code="vectors-version",
            )
        header: tuple[tuple[int, ...], bool, Any] = readers[version](file)
    except ValueError as error:
        raise ShardError(
            f"{path}: is no .npy file ({first_line(error)}); write it with `numpy.save`",
            code="vectors-no-npy",
        ) from error
    return header
