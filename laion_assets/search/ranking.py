"""A ranking by meaning or looks: followed as far as a page needs, weighed, joined and folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.search.allowed import Allowed
from laion_assets.search.fusion import fuse, weigh
from laion_assets.search.looks import fold_looks
from laion_assets.search.matches import Matches, find_nothing
from laion_assets.search.order import Order
from laion_assets.search.row_values import RowValues
from laion_assets.search.vectors import MAX_JOINED, MAX_RANKED, VectorSearch

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]


class Ranking:
    """What a ranking is made of; for one search.

    Attributes:
        known: ids of rows that have a vector, since the ranking found them by it.
    """

    def __init__(
        self, dataset: lance.LanceDataset, values: RowValues, vectors: VectorSearch
    ) -> None:
        self._dataset, self._values, self._vectors = dataset, values, vectors
        self.known = find_nothing().rows
        self._vector: Numbers | None = None
        self._own: int | None = None
        self._allowed: Allowed | None = None
        self._find_words: Callable[[], Matches] | None = None

    def look_like(self, vector: Numbers | None, own: int | None, allowed: Allowed) -> None:
        """Ranks by how near images are to a vector, without the row id that it is of."""
        self._vector, self._own, self._allowed = vector, own, allowed

    def join(self, find: Callable[[], Matches]) -> None:
        """Joins the best of some matches to it, asked for when the nearest vectors are found."""
        self._find_words = find

    def follow(
        self, end: int, aesthetic_weight: float, *, is_folded: bool
    ) -> tuple[Matches, Numbers | None]:
        """Returns the ranking until one beyond the end, if there are so many.

        Args:
            end: the first place that is not wanted.
            aesthetic_weight: see `fusion.weigh`.
            is_folded: whether only the first of those that look alike is wanted.

        Returns:
            The ranking, the best first; for each how many later ones look like it, if folded.
        """
        is_whole = self._find_words is not None or bool(aesthetic_weight)
        if not is_folded:
            return self._rank(MAX_JOINED if is_whole else end + 1, aesthetic_weight), None
        # As far as it takes: most pictures have no copies.
        for depth in (MAX_JOINED, MAX_RANKED):
            found = self._rank(depth, aesthetic_weight)
            firsts, more = fold_looks(found, self._dataset)
            if is_whole or len(firsts.rows) > end or len(found.rows) < depth:
                break
        return firsts, more

    def _rank(self, depth: int, aesthetic_weight: float) -> Matches:
        near = find_nothing()
        if self._vector is not None and self._allowed is not None:
            near = self._vectors.find(
                self._vector, min(depth, MAX_RANKED), self._allowed, self._own
            )
        if aesthetic_weight:
            near = weigh(near, self._values.read("aesthetic", near.rows), aesthetic_weight)
        self.known = near.rows
        if self._find_words is None:
            return near
        return fuse([Order().sort(self._find_words(), self._values, MAX_JOINED), near])
