"""The rows that a ranking may have: those that pass a filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laion_assets.embeddings.nearest import FewVectors


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
