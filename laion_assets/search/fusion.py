"""Joins two rankings into one, and lets better pictures rise in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.search.matches import Matches

if TYPE_CHECKING:
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

# Reciprocal rank fusion, with the constant of Cormack, Clarke and Buettcher (2009).
RANK_CONSTANT = 60
# Aesthetic scores go from 0 to 10; a picture without one counts as one in the middle.
MIDDLE, SPAN = 5, 10


def fuse(rankings: Sequence[Matches]) -> Matches:
    """Joins rankings: each gives a row 1 / (60 + its rank), and the sums decide.

    Args:
        rankings: the best of each first; a row may be in several.

    Returns:
        The rows of all, the highest sum first, equal ones by row id.
    """
    import numpy as np

    rows = np.concatenate([ranking.rows for ranking in rankings])
    parts = [1 / (RANK_CONSTANT + np.arange(1, len(r.rows) + 1)) for r in rankings]
    each, places = np.unique(rows, return_inverse=True)
    # In one order, whatever the order of the rankings, so that equal sums are equal.
    values = np.concatenate(parts)
    sums = np.zeros(len(each))
    for place in np.lexsort((values, places)):
        sums[places[place]] += values[place]
    return rank(each, sums)


def rank(rows: Numbers, scores: Numbers) -> Matches:
    """Returns rows with the highest score first, equal ones by row id."""
    import numpy as np

    order = np.lexsort((rows, -scores))
    return Matches(rows[order], scores[order])


def weigh(found: Matches, aesthetics: Numbers, weight: float) -> Matches:
    """Adds to each score the weight times how far the aesthetic score is from the middle.

    Args:
        found: a ranking by cosines.
        aesthetics: the scores, 0 to 10, NaN where there is none.
        weight: 0 leaves the ranking as it is; with 1 the best picture gets 0.5, the worst -0.5.
    """
    import numpy as np

    known = np.where(np.isnan(aesthetics), MIDDLE, aesthetics).astype(np.float64)
    return rank(found.rows, found.scores + weight * (known - MIDDLE) / SPAN)
