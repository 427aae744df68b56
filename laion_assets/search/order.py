"""Puts matches in order: by relevance or by a column, from either end, ties by row id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.search.matches import Matches
from laion_assets.search.row_values import RowValues

if TYPE_CHECKING:
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

RELEVANCE = "relevance"
# What matches are sorted by, and the columns of the table whose product it is.
SORT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    RELEVANCE: (),
    "aesthetic": ("aesthetic",),
    "similarity": ("similarity",),
    "watermark": ("pwatermark",),
    "unsafe": ("punsafe",),
    "width": ("width",),
    "height": ("height",),
    "area": ("width", "height"),
}
# Rows that are put in order at a time.
BATCH_ROWS = 1_000_000
ASCENDING = "_asc"
# As an address has them: `aesthetic` has the highest score first, `aesthetic_asc` the lowest.
ORDERS = tuple(f"{name}{end}" for name in SORT_COLUMNS for end in ("", ASCENDING))


@dataclass(frozen=True)
class Order:
    """Which matches come first.

    Attributes:
        by: one of `SORT_COLUMNS`.
        is_ascending: whether the lowest value comes first. Rows without a value are always last,
            and rows with the same value come by row id.
    """

    by: str = RELEVANCE
    is_ascending: bool = False

    @classmethod
    def read(cls, text: str) -> Order:
        """Returns the order that one of `ORDERS` names.

        Raises:
            LaionError: there is no such order.
        """
        if text not in ORDERS:
            raise LaionError(
                f"no order {text!r}; there are {', '.join(ORDERS)}", code="order-unknown"
            )
        return cls(text.removesuffix(ASCENDING), text.endswith(ASCENDING))

    def sort(self, found: Matches, values: RowValues, end: int | None = None) -> Matches:
        """Returns the first matches in this order.

        Args:
            found: all of them, by row id.
            values: of the same version of the table.
            end: how many are wanted; None: all.
        """
        columns = SORT_COLUMNS[self.by]
        read = [values.read(column, found.rows) for column in columns] or [found.scores]
        return found.where(_find_first(self._make_keys(read), end))

    def list_first(self, values: RowValues, count: int) -> Numbers:
        """Returns the places of the first rows of a table in this order, which is by a column.

        Args:
            values: of a table that is small enough (`can_count`).
            count: how many.
        """
        import numpy as np

        columns = [values.read_placed(column) for column in SORT_COLUMNS[self.by]]
        places, keys = np.zeros(0, np.int64), np.zeros(0)
        for start in range(0, values.row_count, BATCH_ROWS):
            some = self._make_keys([column[start : start + BATCH_ROWS] for column in columns])
            places = np.concatenate([places, np.arange(start, start + len(some))])
            keys = np.concatenate([keys, some])
            # Those of before are by place where they are equal, and stand before the others.
            first = _find_first(keys, count)
            places, keys = places[first], keys[first]
        return places

    def _make_keys(self, read: Sequence[Numbers]) -> Numbers:
        """Returns numbers of which the lowest comes first, NaN last."""
        import numpy as np

        keys = read[0]
        if len(read) > 1:
            # Areas are exact only so.
            keys = np.prod([part.astype(np.float64) for part in read], axis=0)
        return keys if self.is_ascending else -keys


def _find_first(keys: Numbers, end: int | None) -> Numbers:
    """Returns where the lowest keys stand, in order; equal ones as they stand, NaN last."""
    import numpy as np

    # Where those stand that can be among the first.
    places = np.arange(len(keys))
    if end is not None and 0 < end < len(keys):
        limit = np.partition(keys, end - 1)[end - 1]
        # NaN is greater than all numbers here, and compares with none.
        places = places if np.isnan(limit) else np.flatnonzero(keys <= limit)
    first: Numbers = places[np.argsort(keys[places], kind="stable")][:end]
    return first
