"""Finds the matches that repeat each other, so that a page can show one of them and count the rest.

Two matches repeat each other if they have exactly the same caption or exactly the same URL,
character by character, or if a chain of such matches links them. So each match is in one group, and
the groups do not depend on the order in which the matches are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.search.matches import Matches
from laion_assets.search.row_values import RowValues

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Numbers: TypeAlias = np.ndarray[Any, Any]

# The URL and the caption of each of them are read.
MAX_FOLDED = 100_000
TOO_MANY = f"More than {MAX_FOLDED:,} images match, so repeats are shown; add words or filters."


def fold(ordered: Matches, matching: Matches, values: RowValues) -> tuple[Matches, Numbers]:
    """Returns the first match of each group, and how many others of the group are shown.

    Args:
        ordered: the matches that are shown, in their order.
        matching: these and the hidden ones, by row id; a hidden one can link two that are shown.
        values: of the same version of the table.
    """
    import numpy as np

    groups = find_groups(values.read_texts(matching.rows))
    shown = groups[np.searchsorted(matching.rows, ordered.rows)]
    _, firsts, counts = np.unique(shown, return_index=True, return_counts=True)
    places = np.argsort(firsts)
    kept = firsts[places]
    return Matches(ordered.rows[kept], ordered.scores[kept]), counts[places] - 1


def keep_alike(matching: Matches, row: int, values: RowValues) -> Matches:
    """Returns the matches that repeat the image of a row, and itself if it is one of them.

    Args:
        matching: all matches, by row id.
        row: a row id.
        values: of the same version of the table.

    Raises:
        LaionError: there are too many matches.
    """
    import numpy as np

    if len(matching.rows) > MAX_FOLDED:
        raise LaionError(
            f"alike: {len(matching.rows):,} images match, and repeats are found among at most "
            f"{MAX_FOLDED:,}; add words or filters",
            code="search-alike-too-many",
        )
    rows = np.union1d(matching.rows, np.array([row], np.uint64))
    groups = find_groups(values.read_texts(rows))
    is_alike = groups == groups[np.searchsorted(rows, np.uint64(row))]
    return matching.where(is_alike[np.searchsorted(rows, matching.rows)])


def find_groups(texts: pa.Table) -> Numbers:
    """Returns a number for each row; those that repeat each other have the same.

    Args:
        texts: the columns `url` and `caption`.
    """
    import numpy as np

    urls, captions = (_encode(texts[name]) for name in ("url", "caption"))
    _, firsts = np.unique(urls, return_index=True)
    # Rows of one caption are together; each URL links the captions that stand beside it.
    others = captions[firsts[urls]]
    links = np.flatnonzero(captions != others)
    if not len(links):
        return captions
    return _join(captions[links].tolist(), others[links].tolist(), captions.max() + 1)[captions]


def _encode(texts: pa.ChunkedArray) -> Numbers:
    """Returns a number for each text, from 0; equal texts have the same."""
    import numpy as np

    # The chunks share one dictionary then.
    encoded = texts.dictionary_encode().unify_dictionaries()
    codes = [chunk.indices.to_numpy() for chunk in encoded.chunks]
    return np.concatenate([np.zeros(0, np.int32), *codes])


def _join(ones: list[int], others: list[int], count: int) -> Numbers:
    """Returns for each number below the count the one that stands for all that are linked to it."""
    import numpy as np

    parents = list(range(count))

    def find(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for one, other in zip(ones, others, strict=True):
        parents[find(one)] = find(other)
    return np.array([find(number) for number in range(count)])
