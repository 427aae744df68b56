"""Finds pictures that look like one of `train`, by their perceptual hashes.

`split` comes from `image_id` alone, so a picture that is at two addresses can be in two splits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import lance
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, Any]

PHASH = "phash"
# Two hashes that differ in this many of 64 bits differ in one bit at most in some quarter.
MAX_DISTANCE = 6
QUARTERS = (0, 16, 32, 48)
# Comparisons at once.
PIECE = 1 << 22


def find_near_train(dataset: lance.LanceDataset, hashes: Numbers) -> Numbers:
    """Returns which hashes differ in `MAX_DISTANCE` bits at most from one of the split `train`.

    Args:
        dataset: the table, with `phash` and `split`.
        hashes: unsigned 64-bit integers.
    """
    import numpy as np

    scanner = dataset.scanner(columns=[PHASH], filter=f"split = 'train' AND {PHASH} IS NOT NULL")
    parts = [batch[PHASH].to_numpy().view(np.uint64) for batch in scanner.to_batches()]
    return find_near(hashes, np.concatenate([np.zeros(0, np.uint64), *parts]))


def find_near(hashes: Numbers, others: Numbers) -> Numbers:
    """Returns which hashes differ in `MAX_DISTANCE` bits at most from one of the others."""
    import numpy as np

    others = np.unique(others)
    asked, places = np.unique(hashes, return_inverse=True)
    is_near = np.zeros(len(asked), bool)
    for shift in QUARTERS:
        quarters = (others >> np.uint64(shift)).astype(np.uint16)
        by_quarter = others[np.argsort(quarters, kind="stable")]
        ends = np.cumsum(np.bincount(quarters, minlength=1 << 16))
        for changed in (0, *(1 << bit for bit in range(16))):
            left = np.flatnonzero(~is_near)
            wanted = (asked[left] >> np.uint64(shift)).astype(np.uint16) ^ np.uint16(changed)
            counts = np.diff(ends, prepend=0)[wanted]
            starts = ends[wanted] - counts
            is_near[left] = _compare(asked[left], by_quarter, starts, counts)
    found: Numbers = is_near[places]
    return found


def _compare(asked: Numbers, others: Numbers, starts: Numbers, counts: Numbers) -> Numbers:
    """Returns which of those asked for are near one of `counts` others from `starts` on."""
    import numpy as np

    is_near = np.zeros(len(asked), bool)
    ends = np.cumsum(counts)
    for first in range(0, int(ends[-1]) if len(ends) else 0, PIECE):
        pairs = np.arange(first, min(first + PIECE, int(ends[-1])))
        which = np.searchsorted(ends, pairs, side="right")
        candidates = others[starts[which] + pairs - (ends[which] - counts[which])]
        distances = np.bitwise_count(asked[which] ^ candidates)
        is_near[which[distances <= MAX_DISTANCE]] = True
    return is_near
