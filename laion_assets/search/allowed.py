"""The rows that a ranking may have: those that pass a filter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laion_assets.embeddings.nearest import FewVectors

# The filter of most visitors is one of a few. A million rows take 128 kB,
# a few with their vectors 3 MB.
MAX_KEPT = 32


@dataclass(frozen=True)
class Allowed:
    """What passes a filter.

    Attributes:
        total: how many images do.
        hidden: how many of them are left out as unsafe.
        unscored: how many of the others nobody knows it of; None where nothing is hidden.
        packed: the others, as `nearest.pack_rows` writes them; None: all rows.
        share: of all rows, these.
        few: the vectors of these, where they are so few that all are compared; else None.
    """

    total: int
    hidden: int
    unscored: int | None
    packed: bytes | None
    share: float
    few: FewVectors | None = None

    @property
    def shown(self) -> int:
        """How many may be found."""
        return self.total - self.hidden


class KeptFilters:
    """What passed the filters that were asked for last; for several threads at once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Allowed] = OrderedDict()
        self._lock = Lock()

    def find(self, key: Hashable, make: Callable[[], Allowed]) -> Allowed:
        """Returns what is kept under a key, or makes it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        # Two threads may both do it, to the same end.
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return made
