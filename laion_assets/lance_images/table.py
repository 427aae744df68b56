"""Replaces one shard of the Lance table `images` in one commit, whatever the size of the table.

The new fragments are written first, unseen by any reader. One `Update` operation then takes the
shard's old fragments out and puts the new ones in, so every version has each shard whole or not
at all. Lance rebases commits of different shards onto each other by itself. Two writers of the
same shard would both add their rows; a lock file a shard makes the second one wait, read again and
replace. (`merge_insert` joins the whole table, and `delete` with `add` makes two commits.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.errors import StaleTableError
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.own_columns import Loss
from laion_assets.stores.shard_files import IdSums, name_file
from laion_assets.stores.shard_fragments import find_fragments, select_shards

if TYPE_CHECKING:
    import lance
    import pyarrow as pa
    from lance.fragment import FragmentMetadata

# Lance's own measure.
MAX_FRAGMENT_ROWS = 1_048_576
# Another commit between our look at the table and ours makes us look again, which takes
# milliseconds; so many in a row means that something else is wrong.
COMMIT_ATTEMPTS = 20


@dataclass(frozen=True)
class Commit:
    """The version of a Lance table in which a shard was replaced.

    Attributes:
        version: the table's version.
        row_count: rows of the shard in it.
        fragment_count: fragments that hold them.
        data_bytes: size of their files.
        properties: what the commit says of itself.
        losses: what it leaves NULL in columns that somebody added by hand.
    """

    version: int
    row_count: int
    fragment_count: int
    data_bytes: int
    properties: Mapping[str, str]
    losses: tuple[Loss, ...] = ()


def replace_shard(
    store: LanceStore,
    table: str,
    shard: str,
    rows: pa.RecordBatchReader,
    *,
    expected_count: int,
    properties: Mapping[str, str],
    extend: Callable[[list[FragmentMetadata]], None] = lambda _: None,
) -> Commit:
    """Replaces all rows of a shard by others in one commit. Hold `lock_shard` meanwhile.

    Args:
        store: the Lance tables.
        table: one with a column `shard`.
        shard: the shard, as all rows have it in the column `shard`.
        rows: the new rows, in the table's schema; read to the end, once.
        expected_count: how many they have to be.
        properties: what the commit says of itself, for provenance.
        extend: adds files of more columns to the new fragments.

    Raises:
        StaleTableError: the rows are not as many as expected; nothing was committed.
    """
    import pyarrow as pa

    sums = IdSums()
    seen = pa.RecordBatchReader.from_batches(rows.schema, map(sums.see, rows))
    fragments = store.write_fragments(table, seen, _fragment_rows(expected_count))
    row_count = sum(fragment.physical_rows for fragment in fragments)
    if row_count != expected_count:
        raise StaleTableError(
            f"shard {shard!r}: read {row_count} rows of {expected_count}; "
            "materialize `images` again",
            code="shard-rows-missing",
        )
    id_sums = sums.add_up([fragment.physical_rows for fragment in fragments])
    for fragment, id_sum in zip(fragments, id_sums, strict=True):
        name_file(store, table, shard, fragment, id_sum)
    extend(fragments)
    version = _commit(store, table, [shard], fragments, properties)
    data_bytes = sum(file.file_size_bytes or 0 for f in fragments for file in f.files)
    return Commit(version, row_count, len(fragments), data_bytes, properties)


def _fragment_rows(row_count: int) -> int:
    """Returns how many rows a fragment has, so that those of a shard are of about one size.

    The index of captions is built for several fragments at a time.
    """
    fragment_count = max(1, math.ceil(row_count / MAX_FRAGMENT_ROWS))
    return max(1, math.ceil(row_count / fragment_count))


def remove_shards(store: LanceStore, table: str, shards: Collection[str]) -> int:
    """Removes all rows of these shards in one commit. Hold `lock_shard` of each meanwhile.

    Returns:
        The version of the table without them; that of before, if it has none of them.
    """
    return _commit(store, table, shards, [], {"removed_shards": json.dumps(sorted(shards))})


def list_shards(dataset: lance.LanceDataset) -> set[str]:
    """Returns the shards that have rows in the table."""
    shards: set[str] = set()
    for batch in dataset.to_batches(columns=["shard"]):
        shards.update(batch["shard"].unique().to_pylist())
    return shards


def _commit(
    store: LanceStore,
    table: str,
    shards: Collection[str],
    fragments: list[FragmentMetadata],
    properties: Mapping[str, str],
) -> int:
    import lance
    from lance.commit import CommitConflictError

    for attempt in range(1, COMMIT_ATTEMPTS + 1):
        dataset = store.open(table)
        removed, updated = _take_out(dataset, shards)
        if not (fragments or removed or updated):
            return dataset.version
        operation = lance.LanceOperation.Update(
            removed_fragment_ids=removed, updated_fragments=updated, new_fragments=fragments
        )
        transaction = lance.Transaction(
            dataset.version, operation, transaction_properties=dict(properties)
        )
        try:
            return store.commit(table, transaction).version
        except CommitConflictError:
            if attempt == COMMIT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _take_out(
    dataset: lance.LanceDataset, shards: Collection[str]
) -> tuple[list[int], list[FragmentMetadata]]:
    removed: list[int] = []
    updated: list[FragmentMetadata] = []
    for fragment_id in find_fragments(dataset, *shards):
        fragment = dataset.get_fragment(fragment_id)
        assert fragment is not None
        rest = fragment.delete(select_shards(shards))
        if rest is None:
            removed.append(fragment_id)
        else:
            updated.append(rest)
    return removed, updated
