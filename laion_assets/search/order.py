"""Puts matches in order: by relevance or by a column, from either end, ties by row id."""

from __future__ import annotations

from collections.abc import Mapping
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
        import numpy as np

        keys = self._read_keys(found, values)
        # The places of those that can be among the first, still by row id.
        places = np.arange(len(keys))
        if end is not None and 0 < end < len(keys):
            limit = np.partition(keys, end - 1)[end - 1]
            # NaN is greater than all numbers here, and compares with none.
            places = places if np.isnan(limit) else np.flatnonzero(keys <= limit)
        first = places[np.argsort(keys[places], kind="stable")][:end]
        return found.where(first)

    def _read_keys(self, found: Matches, values: RowValues) -> Numbers:
        """Returns numbers of which the lowest comes first, NaN last."""
        import numpy as np

        columns = SORT_COLUMNS[self.by]
        if columns:
            # Areas are exact only so.
            read = [values.read(column, found.rows).astype(np.float64) for column in columns]
            keys: Numbers = np.prod(read, axis=0)
        else:
            keys = found.scores
        return keys if self.is_ascending else -keys
