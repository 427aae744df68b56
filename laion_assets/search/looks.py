"""Finds the hits of a ranking that look like an earlier one, so that a page shows that one alone.

Two pictures look alike if the cosine of their vectors is 0.98 or more, or their perceptual hashes
are equal. Each hit stands for the later ones that look like it, so what comes first does not depend
on how far the ranking is followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.embeddings.add_embeddings import COLUMN
from laion_assets.embeddings.vector_rows import read_column
from laion_assets.search.matches import Matches

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

LEAST_COSINE = 0.98


def fold_looks(found: Matches, dataset: lance.LanceDataset) -> tuple[Matches, Numbers]:
    """Returns the hits that look like no earlier one, and how many later ones look like each.

    Args:
        found: a ranking, the best first; at most some thousands.
        dataset: the version of the table that it is of.
    """
    import numpy as np

    vectors, hashes = _read(found.rows, dataset)
    first_of = np.full(len(found.rows), -1)
    for place in range(len(found.rows)):
        if first_of[place] >= 0:
            continue
        is_alike = vectors[place:] @ vectors[place] >= LEAST_COSINE
        if hashes[place] is not None:
            is_alike |= np.array([other == hashes[place] for other in hashes[place:]], bool)
        is_alike[0] = True
        rest = first_of[place:]
        rest[is_alike & (rest < 0)] = place
    firsts, counts = np.unique(first_of, return_counts=True)
    return found.where(firsts), counts - 1


def _read(rows: Numbers, dataset: lance.LanceDataset) -> tuple[Numbers, list[int | None]]:
    """Returns the vector of each row, zero where there is none, and its hash."""
    import numpy as np
    import pyarrow as pa

    names = [name for name in (COLUMN, "phash") if name in dataset.schema.names]
    order = np.argsort(rows)
    taken = dataset._take_rows(pa.array(rows[order]), columns=names)
    back = np.argsort(order)
    hashes = taken["phash"].to_pylist() if "phash" in names else [None] * len(rows)
    lists = taken[COLUMN].combine_chunks()
    vectors = read_column(lists, lists.type.list_size)[0].astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(lengths, lengths, 1)
    return vectors[back], [hashes[place] for place in back.tolist()]
