"""Which versions of the warehouse's Lance tables belong together, and where each shard is in them.

A transaction changes several tables, and Lance commits one at a time. So what the others have is
said by one more table, `head`, whose commit comes last and makes all of them visible at once. Rows
of a transaction that was cut off before it are in their tables, but no reader sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.postgres import check_locks

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

HEAD = "head"
# The column of the notes, which tables from before there were any lack.
_NOTE = "note"


@dataclass(frozen=True)
class Head:
    """What is committed.

    Attributes:
        number: of this state; each has another.
        versions: the version of each table.
        parts: of each table that is kept by shards, the fragments of each shard.
        notes: of some of them, what is known of the rows of each shard; see `shard_sums.py`.
    """

    number: int
    versions: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    notes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_head(store: LanceStore) -> Head | None:
    """Returns what is committed; None if nothing was yet."""
    if (dataset := store.find(HEAD)) is None:
        return None
    versions: dict[str, int] = {}
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    notes: dict[str, dict[str, str]] = {}
    for row in dataset.to_table().to_pylist():
        table, shard = row["table_name"], row["shard"]
        if shard is None:
            versions[table] = row["version"]
            continue
        parts.setdefault(table, {})[shard] = tuple(row["fragments"])
        if (note := row.get(_NOTE)) is not None:
            notes.setdefault(table, {})[shard] = note
    return Head(dataset.version, versions, parts, notes)


def commit_head(store: LanceStore, head: Head) -> None:
    """Makes a state the next one.

    Args:
        store: the warehouse.
        head: the state; its number is that of the state that it follows, 0 if it is the first.

    Raises:
        LaionError: another process has committed since; nothing of this one is visible.
    """
    import lance
    from lance.commit import CommitConflictError

    rows = _write(head)
    if head.number == 0:
        try:
            store.create(HEAD, rows)
        except OSError as error:
            if "already exists" not in str(error):
                raise
            raise overtaken(store) from error
        return
    dataset = store.open(HEAD, head.number)
    if _NOTE not in dataset.schema.names:
        dataset = _add_notes(store, dataset)
    fragments = store.write_fragments(HEAD, rows.to_reader(), max(1, rows.num_rows))
    # Two that take the same fragments out are in conflict, whoever holds a lock.
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=[f.fragment_id for f in dataset.get_fragments()],
        updated_fragments=[],
        new_fragments=fragments,
    )
    try:
        store.commit(HEAD, lance.Transaction(dataset.version, operation))
    except CommitConflictError as error:
        raise overtaken(store) from error


def _add_notes(store: LanceStore, dataset: lance.LanceDataset) -> lance.LanceDataset:
    """Adds the column of the notes to a version; returns the next one, which has it."""
    import pyarrow as pa

    check_locks()
    before = dataset.version
    store.open(HEAD).add_columns(pa.schema([pa.field(_NOTE, pa.string())]))
    dataset = store.open(HEAD)
    if dataset.version != before + 1:
        raise overtaken(store)
    return dataset


def _write(head: Head) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema(
        [
            pa.field("table_name", pa.string(), nullable=False),
            pa.field("shard", pa.string()),
            pa.field("version", pa.int64()),
            pa.field("fragments", pa.list_(pa.int64())),
            pa.field(_NOTE, pa.string()),
        ]
    )
    rows = [
        {"table_name": table, "version": version}
        for table, version in sorted(head.versions.items())
    ]
    for table, parts in sorted(head.parts.items()):
        notes = head.notes.get(table, {})
        rows += [
            {
                "table_name": table,
                "shard": shard,
                "fragments": list(numbers),
                _NOTE: notes.get(shard),
            }
            for shard, numbers in sorted(parts.items())
        ]
    return pa.Table.from_pylist(rows, schema=schema)


def overtaken(store: LanceStore) -> LaionError:
    """Returns what is said where two processes commit at once, as after a lost lock."""
    return LaionError(
        f"{store.place}: another process committed meanwhile, so nothing of this one was; "
        "run it again",
        code="warehouse-overtaken",
        is_passing=True,
    )
