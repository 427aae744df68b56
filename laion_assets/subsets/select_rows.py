"""Finds the rows of a release that a subset has, in an order that depends on the rows alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.search.filter import SearchFilter
from laion_assets.search.search import CaptionSearch

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Rows of which shard and place are read at a time; of vectors fewer.
PLACE_ROWS = 65_536
VECTOR_ROWS = 4_096
# The last digits of a sum depend on the machine, so they decide nothing.
DECIMALS = 6


@dataclass(frozen=True)
class Selection:
    """The rows of a subset.

    Attributes:
        rows: their row ids in the release, by shard and place in its file.
        match_count: how many rows fit, before `limit` took these.
    """

    rows: Numbers
    match_count: int


def select_rows(
    search: CaptionSearch,
    dataset: lance.LanceDataset,
    subset: DeclaredSubset,
    vector: Numbers | None,
) -> Selection:
    """Returns the rows of a subset: 20 bytes of memory for each that fits, whatever is in it.

    With `like`, a row fits if it has a vector, and `limit` takes the nearest of all, not of those
    that an index finds. Without, it takes those with the best words, or else the first. Of equals
    the first by shard and place are taken.

    Args:
        search: of the release.
        dataset: the table `images` of the release.
        subset: what is declared.
        vector: of `like`, of unit length; None without.

    Raises:
        LaionError: the condition or the search cannot be used.
    """
    import numpy as np

    found = search.match(subset.search, SearchFilter(where=subset.where))
    order = _order_by_place(dataset, found.rows)
    rows, scores = found.rows[order], found.scores[order]
    if vector is not None:
        scores = _measure(dataset, rows, vector)
        has_vector = ~np.isnan(scores)
        rows, scores = rows[has_vector], scores[has_vector]
    match_count = len(rows)
    if subset.limit is not None and subset.limit < match_count:
        best = np.argsort(-scores, kind="stable")[: subset.limit]
        rows = rows[np.sort(best)]
    return Selection(rows, match_count)


def _order_by_place(dataset: lance.LanceDataset, rows: Numbers) -> Numbers:
    """Returns the order in which rows stand by shard and place in its file."""
    import numpy as np

    codes: dict[str, int] = {}
    shards, places = np.empty(len(rows), np.int32), np.empty(len(rows), np.int64)
    for start, part in _cut(rows, PLACE_ROWS):
        table = _take(dataset, part, ["shard", "row_index"])
        encoded = table["shard"].combine_chunks().dictionary_encode()
        known = [codes.setdefault(name, len(codes)) for name in encoded.dictionary.to_pylist()]
        stop = start + len(part)
        shards[start:stop] = np.array(known, np.int32)[encoded.indices.to_numpy()]
        places[start:stop] = table["row_index"].to_numpy()
    ranks = np.empty(len(codes), np.int32)
    ranks[[codes[name] for name in sorted(codes)]] = np.arange(len(codes))
    order: Numbers = np.lexsort((places, ranks[shards]))
    return order


def _measure(dataset: lance.LanceDataset, rows: Numbers, vector: Numbers) -> Numbers:
    """Returns the cosine of each row's vector with another; NaN where there is none."""
    import numpy as np

    similarities = np.full(len(rows), np.nan)
    wanted = vector.astype(np.float64)
    for start, part in _cut(rows, VECTOR_ROWS):
        column = _take(dataset, part, ["img_emb"])["img_emb"].combine_chunks()
        is_there = column.is_valid().to_numpy(zero_copy_only=False)
        vectors = column.drop_null().flatten().to_numpy().reshape(-1, len(wanted))
        similarities[start : start + len(part)][is_there] = vectors.astype(np.float64) @ wanted
    rounded: Numbers = similarities.round(DECIMALS)
    return rounded


def _cut(rows: Numbers, step: int) -> Iterator[tuple[int, Numbers]]:
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step]


def _take(dataset: lance.LanceDataset, rows: Numbers, columns: list[str]) -> Any:
    import pyarrow as pa

    return dataset._take_rows(pa.array(rows), columns=columns)
