"""Sets of rows as bits, one for each place in the table: counted and intersected in a millisecond.

Twelve million rows take 1.5 MB. The sets of what people filter by are kept, those asked for last.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.search.filter import Range
from laion_assets.search.lru_cache import LruCache
from laion_assets.search.row_values import RowValues

if TYPE_CHECKING:
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Of all sets that are kept together.
MAX_KEPT_BYTES = 64 * 2**20
UNSCORED = "punsafe is missing"
# Bits are counted so many at a time.
WORD_BYTES = 8


class KeptBits:
    """The rows of one version of the table that are in a range; for several threads at once."""

    def __init__(self, values: RowValues) -> None:
        """Reads nothing yet.

        Args:
            values: of the version, which `can_count`.
        """
        self._values = values
        self._kept: LruCache[Numbers] = LruCache(MAX_KEPT_BYTES, lambda _, bits: bits.nbytes)

    def hold(self, wanted: Range) -> Numbers:
        """Returns the rows in a range."""
        return self.find(
            wanted, lambda: pack(wanted.holds(self._values.read_placed(wanted.column)))
        )

    def miss_scores(self) -> Numbers:
        """Returns the rows of which nobody knows how probably they are unsafe."""
        import numpy as np

        return self.find(UNSCORED, lambda: pack(np.isnan(self._values.read_placed("punsafe"))))

    def find(self, key: Hashable, make: Callable[[], Numbers]) -> Numbers:
        """Returns the set that is kept under a key, or makes it."""
        return self._kept.find(key, make)


def pack(flags: Numbers) -> Numbers:
    """Returns the places where it is true, as bits; a few that are false are added at the end."""
    import numpy as np

    bits = np.packbits(flags)
    return np.pad(bits, (0, -len(bits) % WORD_BYTES))


def pack_places(places: Numbers, row_count: int) -> Numbers:
    """Returns places as bits.

    Args:
        places: in any order.
        row_count: of the table.
    """
    import numpy as np

    flags = np.zeros(row_count, np.bool_)
    flags[places] = True
    return pack(flags)


def unpack(bits: Numbers) -> Numbers:
    """Returns the places, ascending."""
    import numpy as np

    return np.flatnonzero(np.unpackbits(bits).view(np.bool_))


def count(bits: Numbers) -> int:
    """Returns how many places there are."""
    import numpy as np

    return int(np.bitwise_count(bits.view(np.uint64)).sum())


def contain(bits: Numbers, places: Numbers) -> Numbers:
    """Returns for each place whether it is in the set."""
    import numpy as np

    found: Numbers = (bits[places >> 3] << (places & 7).astype(np.uint8)) & 0x80 != 0
    return found


def rank(bits: Numbers, places: Numbers) -> Numbers:
    """Returns how many places of the set are before each of some that are in it."""
    import numpy as np

    counts = np.bitwise_count(bits)
    until = np.cumsum(counts, dtype=np.int64)
    of = places >> 3
    # Those of the same byte that are not before it, itself among them.
    after = np.bitwise_count(bits[of] << (places & 7).astype(np.uint8))
    found: Numbers = until[of] - after
    return found
