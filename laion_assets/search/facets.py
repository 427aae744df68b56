"""Counts the matches of a search by what they have in common: sites, shards, licences, scores.

The counts are exact up to `MAX_COUNTED` matches. Of more, so many are counted that stand at equal
distances in the table, and the numbers are those, not an estimate of the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from laion_assets.search.filter import SIZES, Bounds
from laion_assets.search.row_values import NO_TEXT, SIDE, RowValues

if TYPE_CHECKING:
    import numpy as np

    from laion_assets.search.own_facets import OwnFacet, OwnFacets

    Numbers: TypeAlias = np.ndarray[Any, Any]

MAX_COUNTED = 250_000
# Of a long list the commonest are told.
MAX_VALUES = 8
# So many times as many texts as rows are there, and rows are sorted instead of all texts counted.
FEW = 4
# Up to so many rows are counted one by one: arrays would take longer to set up.
FEW_ROWS = 100
# The filter of each list of texts, and its column.
TEXTS = {
    "site": "registered_domain",
    "domain": "domain",
    "shard": "shard",
    "license": "license",
    "nsfw": "nsfw",
    "language": "language",
}
# Where one bar ends and the next begins; the first and the last have no end.
EDGES = {
    "aesthetic": (3, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8),
    "similarity": (0.15, 0.2, 0.25, 0.28, 0.3, 0.32, 0.34, 0.36, 0.4),
    "punsafe": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "pwatermark": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
}
# As the filter takes them.
RANGES = {
    name: [str(Bounds(*ends)) for ends in pairwise((None, *edges, None))]
    for name, edges in EDGES.items()
}


class FacetValue(NamedTuple):
    """How many of the counted matches have a value.

    Attributes:
        value: as the filter takes it.
        image_count: how many have it.
        condition: of a column that a user declared, what `SearchFilter.where` takes; None: `value`
            is taken by the filter of the facet.
    """

    value: str
    image_count: int
    condition: str | None = None


@dataclass(frozen=True)
class Facet:
    """The matches by one filter.

    Attributes:
        name: of the filter.
        values: the commonest values, the most images first; for sizes and scores all, in order.
        other_values: how many more values there are.
        other_count: how many matches have one of these.
        missing_count: how many matches have none.
        is_range: whether the values are ranges of numbers.
        is_own: whether it is a column that a user declared, or added by hand.
    """

    name: str
    values: tuple[FacetValue, ...]
    other_values: int
    other_count: int
    missing_count: int
    is_range: bool = False
    is_own: bool = False


@dataclass(frozen=True)
class Facets:
    """The matches by each filter.

    Attributes:
        counted: how many matches were counted.
        is_exact: whether these are all.
        facets: those by which any match has a value.
    """

    counted: int
    is_exact: bool
    facets: tuple[Facet, ...]


def count_facets(places: Numbers, values: RowValues, own: OwnFacets | None = None) -> Facets:
    """Counts matches.

    Args:
        places: theirs, ascending.
        values: of the table that they are of, which `can_count`.
        own: the columns of a user; None: they are not counted.
    """
    step = -(-len(places) // MAX_COUNTED) or 1
    counted = places[::step]
    facets = [
        *(_count_texts(name, counted, values) for name in TEXTS),
        _count_sizes(counted, values),
        *(_count_scores(name, counted, values) for name in EDGES),
        *(map(_cut_own, own.count(counted)) if own else ()),
    ]
    kept = tuple(facet for facet in facets if facet.values)
    return Facets(len(counted), step == 1, kept)


def _count_texts(name: str, places: Numbers, values: RowValues) -> Facet:
    import numpy as np

    codes, texts = values.read_codes(TEXTS[name], places)
    if len(texts) == 1:
        return Facet(name, (), 0, 0, len(places))
    if len(codes) <= FEW_ROWS:
        return _count_few_texts(name, codes, texts)
    if len(codes) * FEW < len(texts):
        present, counts = np.unique(codes, return_counts=True)
    else:
        every = np.bincount(codes, minlength=len(texts))
        present = np.flatnonzero(every)
        counts = every[present]
    is_missing = present == NO_TEXT
    missing = int(counts[is_missing].sum())
    present, counts = present[~is_missing], counts[~is_missing]
    told = _list_commonest(present, counts, texts)
    other_count = len(places) - missing - sum(value.image_count for value in told)
    return Facet(name, tuple(told), len(present) - len(told), other_count, missing)


def _count_few_texts(name: str, codes: Numbers, texts: Sequence[str | None]) -> Facet:
    counts = Counter(codes.tolist())
    missing = counts.pop(NO_TEXT, 0)
    every = [FacetValue(str(texts[code]), count) for code, count in counts.items()]
    every.sort(key=lambda value: (-value.image_count, value.value))
    told, others = every[:MAX_VALUES], every[MAX_VALUES:]
    other_count = sum(value.image_count for value in others)
    return Facet(name, tuple(told), len(others), other_count, missing)


def _list_commonest(
    codes: Numbers, counts: Numbers, texts: Sequence[str | None]
) -> list[FacetValue]:
    """Returns the texts with the largest counts; those with the same count by text.

    Args:
        codes: of texts that some row has.
        counts: of these codes.
        texts: by code.
    """
    import numpy as np

    least = 0 if len(counts) <= MAX_VALUES else np.partition(counts, -MAX_VALUES)[-MAX_VALUES]
    above = counts > least
    found = [
        FacetValue(str(texts[code]), count)
        for code, count in zip(codes[above].tolist(), counts[above].tolist(), strict=True)
    ]
    found.sort(key=lambda value: (-value.image_count, value.value))
    if least:
        # Very many sites may have one image each.
        equal = (str(texts[code]) for code in codes[counts == least].tolist())
        first = nsmallest(MAX_VALUES - len(found), equal)
        found.extend(FacetValue(text, int(least)) for text in first)
    return found


def _count_sizes(places: Numbers, values: RowValues) -> Facet:
    edges = tuple(below for _, below in SIZES.values() if below is not None)
    missing, *counts = _count_ranges(SIDE, edges, places, values)
    told = tuple(FacetValue(name, n) for name, n in zip(SIZES, counts, strict=True) if n)
    return Facet("size", told, 0, 0, missing)


def _count_scores(name: str, places: Numbers, values: RowValues) -> Facet:
    edges = EDGES[name]
    missing, *counts = _count_ranges(name, edges, places, values)
    told = tuple(map(FacetValue, RANGES[name], counts))
    is_any = missing < len(places)
    return Facet(name, told if is_any else (), 0, 0, missing, is_range=True)


def _count_ranges(
    column: str, edges: tuple[float, ...], places: Numbers, values: RowValues
) -> list[int]:
    """Returns how many places have no value, and how many one in each range between edges."""
    import numpy as np

    ranges = values.read_ranges(column, edges, places)
    return list(np.bincount(ranges, minlength=len(edges) + 2).tolist())


def _cut_own(found: OwnFacet) -> Facet:
    """Returns a facet with all ranges, or the commonest values."""
    kept = found.counts if found.is_range else found.counts[:MAX_VALUES]
    return Facet(
        name=found.name,
        values=tuple(FacetValue(one.value, one.image_count, one.condition) for one in kept),
        other_values=len(found.counts) - len(kept),
        other_count=sum(one.image_count for one in found.counts[len(kept) :]),
        missing_count=found.missing_count,
        is_range=found.is_range,
        is_own=True,
    )
