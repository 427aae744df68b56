"""Takes rows of a file that is read part by part, from its first row to its last."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import TYPE_CHECKING, Generic, TypeVar

from laion_assets.errors import LaionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Part = TypeVar("Part", bound=Sized)


class RowParts(Generic[Part]):
    """The parts of a file, of which one is held at a time.

    Args:
        parts: those of all rows of the file, in its order; the length of one is its rows.
    """

    def __init__(self, parts: Iterator[Part]) -> None:
        self._parts = parts
        self._part: Part | None = None
        self._start = 0

    def take(self, rows: NDArray[np.int64]) -> Iterator[tuple[Part, NDArray[np.int64]]]:
        """Yields the parts that have these rows, and the places of the rows in each.

        Args:
            rows: places in the file, ascending, each after those of the call before.

        Raises:
            LaionError: the file ends before one of them.
        """
        done = 0
        while done < len(rows):
            part = self._part
            if part is None or rows[done] >= self._start + len(part):
                self._start += len(part) if part is not None else 0
                self._part = next(self._parts, None)
                if self._part is None:
                    raise LaionError(
                        f"row {rows[done]} is not in the file any more; materialize `raw_shards`",
                        code="shard-row-gone",
                    )
                continue
            end = int(rows.searchsorted(self._start + len(part)))
            places = rows[done:end] - self._start
            done = end
            yield part, places
