"""Brings the indices of the Lance table `images` up to date, and joins its small fragments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import lance

# What people filter by. A range that most rows are in is quicker read than looked up (`search.py`
# does so); a B-tree is for the rare ones.
SCALAR_INDICES: Mapping[str, Literal["BTREE", "BITMAP"]] = {
    "domain": "BTREE",
    "shard": "BITMAP",
    "punsafe": "BTREE",
    "aesthetic": "BTREE",
    "width": "BTREE",
    "height": "BTREE",
}
# Words as they stand: no stemming and no stop words, so that names can be found whole.
CAPTION_INDEX: Mapping[str, Any] = {
    "with_position": True,
    "stem": False,
    "remove_stop_words": False,
    "max_token_length": None,
}
# Deltas answer as fast as one index, up to a point; merging is the dearest step of a release.
MAX_INDEX_DELTAS = 16
# A fragment costs every search some time, and a file; joining them costs the indices a rewrite,
# so it waits until it saves many.
SMALL_FRAGMENT_ROWS = 131_072
MIN_FRAGMENTS_SAVED = 64


def update_indices(path: Path) -> lance.LanceDataset:
    """Makes every index cover every row; returns the table with them.

    Rows that are new get a delta of their own, at a cost that only they add to.
    """
    import lance

    dataset = lance.dataset(path)
    present = {index.name for index in dataset.describe_indices()}
    if _name("caption") not in present:
        index_captions(dataset)
    for column, kind in SCALAR_INDICES.items():
        if _name(column) not in present:
            dataset.create_scalar_index(column, kind, _name(column))
    for index in dataset.describe_indices():
        deltas = len(index.segments)
        dataset.optimize.optimize_indices(
            num_indices_to_merge=deltas if deltas > MAX_INDEX_DELTAS else 0,
            index_names=[index.name],
        )
    return lance.dataset(path)


def index_captions(dataset: lance.LanceDataset) -> None:
    """Creates the full-text index. Rows that come later are searched by its rules, too."""
    dataset.create_scalar_index("caption", "INVERTED", _name("caption"), **CAPTION_INDEX)


def join_fragments(path: Path) -> int:
    """Joins neighbouring small fragments if that saves many; returns how many it saved.

    Where a shard is replaced meanwhile nothing is joined, and it is tried again another time.
    """
    import lance

    dataset = lance.dataset(path)
    sizes = [fragment.count_rows() for fragment in dataset.get_fragments()]
    small = [size for size in sizes if size < SMALL_FRAGMENT_ROWS]
    if len(small) - sum(small) / SMALL_FRAGMENT_ROWS < MIN_FRAGMENTS_SAVED:
        return 0
    try:
        dataset.optimize.compact_files(target_rows_per_fragment=SMALL_FRAGMENT_ROWS)
    except OSError as error:
        # Lance has no class of its own for it here.
        if "conflict" not in str(error).lower():
            raise
        return 0
    return len(sizes) - len(lance.dataset(path).get_fragments())


def _name(column: str) -> str:
    return f"{column}_idx"
