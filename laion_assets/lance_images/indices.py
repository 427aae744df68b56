"""Brings the indices of the Lance table `images` up to date, and joins its small fragments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from laion_assets.lance_images.caption_words import CaptionWords
from laion_assets.schemas import ADDED_COLUMNS, LANCE_EMBEDDINGS
from laion_assets.stores.index_parts import PartOrder, build_in_processes
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.shard_fragments import find_fragments_with

if TYPE_CHECKING:
    import lance
    from lance.dataset import Index

# What people filter by and few rows are, and the score that searches of the best begin with.
SCALAR_INDICES: Mapping[str, Literal["BTREE", "BITMAP"]] = {
    "domain": "BTREE",
    "registered_domain": "BTREE",
    "shard": "BITMAP",
    "aesthetic": "BTREE",
}
# An older version of the project had these. A range that many rows are in takes two to five times
# as long with a B-tree; one of few rows is read in milliseconds for each million rows.
FORMER_INDICES = ("punsafe", "width", "height")
# The small one of the captions that Lance reads otherwise; see `caption_words.py`.
WORDS = "caption_words"
# In the metadata of the table: the last removal of loaded rows that the indices were built after.
REMOVED_KEY = "laion_assets.indexed_after_removal"
# Words as they stand: no stemming and no stop words, so that names can be found whole.
CAPTION_INDEX: Mapping[str, Any] = {
    "with_position": True,
    "stem": False,
    "remove_stop_words": False,
    "max_token_length": None,
}
# Deltas answer as fast as one index, up to a point; with more of them their rows are indexed anew.
# Merging the parts of captions takes longer than that, and memory for all of them.
MAX_INDEX_DELTAS = 16
# A part of the captions' index that has so many rows stays as it is. The billions of a cluster make
# some dozens of parts: a word asks a bucket for 4 to 8 objects of each.
FULL_PART_ROWS = 50_000_000
MAX_PART_ROWS = 2 * FULL_PART_ROWS
# More of them than cores wait for each other, and each makes the index one part longer.
WORKERS = min(4, os.cpu_count() or 1)
# What a worker may hold before it writes. With more it needs more memory for more rows, and is no
# faster.
WORKER_MIB = 64
# Fewer rows are indexed before a process has started.
WORKER_ROWS = 200_000
# A fragment costs every search some time, and a file; joining them costs the indices a rewrite,
# so it waits until it saves many.
SMALL_FRAGMENT_ROWS = 131_072
MIN_FRAGMENTS_SAVED = 64


def update_indices(store: LanceStore, *, is_shared: bool = False) -> lance.LanceDataset:
    """Makes every index cover every row; returns the table with them.

    Rows that are new get a part of the index of their own, at a cost that only they add to. Lance
    builds a part on one core, so the captions are split among several, and the small indices are
    built beside them.

    Args:
        store: has the table.
        is_shared: whether free nodes of Ray build some of the parts, where there are more of them
            than cores here.
    """
    before = store.open("images")
    with ThreadPoolExecutor(1) as pool:
        # Ray asks for the main thread, and the parts take longer.
        scalars = pool.submit(_update_scalars, store)
        built = _build_parts(before, _find_due(before), is_shared=is_shared)
        # The parts are committed after it, all at once.
        dataset = scalars.result()
    # Each commit leaves the dataset at its version. To open that would read again what is known of
    # all fragments.
    if built:
        # Those of other fragments stay.
        dataset.commit_existing_index_segments(_name("caption"), "caption", [*built])
    for index in dataset.describe_indices():
        # `_find_due` sees to those of the captions.
        if index.name != _name("caption") and (deltas := len(index.segments)) > MAX_INDEX_DELTAS:
            dataset.optimize.optimize_indices(num_indices_to_merge=deltas, index_names=[index.name])
    return dataset


def drop_old_indices(store: LanceStore) -> bool:
    """Drops the indices that have words of rows which were removed; returns whether there are any.

    An index keeps what it has of rows that are not in the table any more. `update_indices` builds
    it anew.
    """
    made_without = store.removals.read().taken_out_at
    dataset = store.open("images")
    if not made_without or dataset.metadata.get(REMOVED_KEY) == made_without:
        return False
    for index in dataset.describe_indices():
        store.open("images").drop_index(index.name)
    store.open("images").update_metadata({REMOVED_KEY: made_without})
    return True


def index_captions(dataset: lance.LanceDataset) -> None:
    """Creates the full-text indices. Rows that come later are searched by their rules, too."""
    for column in ("caption", WORDS):
        dataset.create_scalar_index(column, "INVERTED", _name(column), **CAPTION_INDEX)


def update_columns(store: LanceStore) -> None:
    """Adds the column `caption_words` to a table that an older version of the project made."""
    import lance
    import pyarrow as pa

    if WORDS in store.open("images").schema.names:
        return
    with store.lock("images"):
        dataset = store.open("images")
        if WORDS in dataset.schema.names:
            return
        words = CaptionWords()
        schema = pa.schema([pa.field(WORDS, pa.string())])

        @lance.batch_udf(output_schema=schema)
        def write(batch: pa.RecordBatch) -> pa.RecordBatch:
            return pa.record_batch([words.write(batch["caption"])], schema=schema)

        dataset.add_columns(write, read_columns=["caption"])
        store.open("images").create_scalar_index(WORDS, "INVERTED", _name(WORDS), **CAPTION_INDEX)


def _find_due(dataset: lance.LanceDataset) -> dict[int, int]:
    """Returns the fragments whose captions are to be indexed, with their rows.

    They are those that no part of the index has. If there would be too many parts, they are all
    but those of full parts.
    """
    parts = [
        segment.fragment_ids
        for index in dataset.describe_indices()
        if index.name == _name("caption")
        for segment in index.segments
    ]
    fragments = dataset.get_fragments()
    covered = set[int]().union(*parts)
    due = {n: f.count_rows() for f in fragments if (n := f.fragment_id) not in covered}
    room = MAX_INDEX_DELTAS - len(_split(due))
    if len(parts) <= room:
        return due
    rows = {fragment.fragment_id: fragment.count_rows() for fragment in fragments}
    full = [part for part in parts if sum(rows.get(n, 0) for n in part) >= FULL_PART_ROWS]
    if len(parts) - len(full) <= room:
        return due
    kept = set[int]().union(*full)
    return {n: count for n, count in rows.items() if n not in kept}


def _split(fragments: Mapping[int, int]) -> list[list[int]]:
    """Returns groups of about as many rows each: one for each worker, or more if there are many.

    Neighbours stay together: only those in the same part of the index can be joined later.
    """
    total = sum(fragments.values())
    count = max(min(WORKERS, 1 + total // WORKER_ROWS), ceil(total / MAX_PART_ROWS))
    share = total / count
    groups: list[list[int]] = []
    before = 0
    for fragment, rows in sorted(fragments.items()):
        # Where its middle lies.
        number = min(count - 1, int((before + rows / 2) / share)) if share else 0
        while len(groups) <= number:
            groups.append([])
        groups[number].append(fragment)
        before += rows
    return [group for group in groups if group]


def _build_parts(
    dataset: lance.LanceDataset, fragments: Mapping[int, int], *, is_shared: bool
) -> list[Index]:
    orders = [_order_part(dataset, group) for group in _split(fragments)]
    if sum(fragments.values()) < WORKER_ROWS:
        return [order.build_of(dataset) for order in orders]
    build = partial(build_in_processes, workers=WORKERS)
    if not is_shared or len(orders) <= WORKERS:
        return build(orders)
    from laion_assets.orchestration.other_nodes import make_each

    return make_each(build, orders, WORKERS)


def _order_part(dataset: lance.LanceDataset, fragments: Iterable[int]) -> PartOrder:
    return PartOrder(
        uri=dataset.uri,
        version=dataset.version,
        column="caption",
        kind="INVERTED",
        name=_name("caption"),
        fragments=[*fragments],
        options={**CAPTION_INDEX, "memory_limit": WORKER_MIB},
        storage=dataset.initial_storage_options,
    )


def _update_scalars(store: LanceStore) -> lance.LanceDataset:
    """Brings the small indices up to date; returns the table with them."""
    dataset = store.open("images")
    present = {index.name for index in dataset.describe_indices()}
    for name in present.intersection(map(_name, FORMER_INDICES)):
        dataset.drop_index(name)
    for column, kind in SCALAR_INDICES.items():
        if _name(column) not in present:
            dataset.create_scalar_index(column, kind, _name(column))
    if _name(WORDS) not in present:
        dataset.create_scalar_index(WORDS, "INVERTED", _name(WORDS), **CAPTION_INDEX)
    # Those that somebody added by hand, as of a column of their own, are to have new loads too; the
    # two others are brought up to date otherwise.
    others = map(_name, (*FORMER_INDICES, "caption", LANCE_EMBEDDINGS[0].name))
    if due := sorted(present.difference(others)):
        # All in one commit, which writes what is known of all fragments once.
        dataset.optimize.optimize_indices(num_indices_to_merge=0, index_names=due)
    return dataset


def join_fragments(store: LanceStore) -> int:
    """Joins neighbouring small fragments if that saves many; returns how many it saved.

    Fragments with columns that came later, such as pictures, stay as they are: joining them would
    write all of these again.

    Where a shard is replaced meanwhile nothing is joined, and it is tried again another time.
    """
    dataset = store.open("images")
    # Where shards are large there are few, and the others need not be looked at.
    if dataset.stats.dataset_stats(SMALL_FRAGMENT_ROWS)["num_small_files"] < MIN_FRAGMENTS_SAVED:
        return 0
    heavy = find_fragments_with(dataset, {c.name for cs in ADDED_COLUMNS.values() for c in cs})
    sizes = {fragment.fragment_id: fragment.count_rows() for fragment in dataset.get_fragments()}
    small = [n for id_, n in sizes.items() if n < SMALL_FRAGMENT_ROWS and id_ not in heavy]
    if len(small) - sum(small) / SMALL_FRAGMENT_ROWS < MIN_FRAGMENTS_SAVED:
        return 0
    try:
        dataset.optimize.compact_files(
            target_rows_per_fragment=SMALL_FRAGMENT_ROWS, excluded_fragment_ids=sorted(heavy)
        )
    except OSError as error:
        # Lance has no class of its own for it here.
        if "conflict" not in str(error).lower():
            raise
        return 0
    return len(sizes) - len(store.open("images").get_fragments())


def _name(column: str) -> str:
    return f"{column}_idx"
