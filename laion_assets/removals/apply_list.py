"""Brings the list of removals up to date, and finds the shards that hold rows on it.

The list is written before anything is looked for, so pages hide at once what they can tell. A load
that begins later has the new list; one that began before holds the database, so its rows are
looked at here when it is done. Between them no row is missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from laion_assets.removals.find_rows import FoundRows, find_loaded, find_pictures
from laion_assets.removals.matching import Matcher
from laion_assets.removals.removal_list import DEFAULT_RULES, read_or_keep
from laion_assets.stores.removal_file import Audit, Removals
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import duckdb

    from laion_assets.names.sheet_download import DownloadRules
    from laion_assets.stores.database import Database
    from laion_assets.stores.lance_store import LanceStore
    from laion_assets.stores.raw_store import RawShard, RawStore

# So many digits of a digest name an entry.
DIGITS_TOLD = 12
MAX_AUDITS = 1000


@dataclass(frozen=True)
class Applied:
    """The list after it was read.

    Attributes:
        removals: the list, with the shards that hold rows on it.
        problem: why it could not be read; None if it was.
        audit: what was found.
    """

    removals: Removals
    problem: str | None
    audit: Audit


def apply_list(
    database: Database,
    store: LanceStore,
    raw_store: RawStore,
    location: str | None,
    rules: DownloadRules = DEFAULT_RULES,
) -> Applied:
    """Reads the list, and notes the shards that hold rows on it, which are to be loaded again.

    Shards of which rows were removed that are not on it any more are noted to be fetched anew.

    Args:
        database: the tables.
        store: the Lance tables, beside which the list is kept.
        raw_store: knows which rows were removed before.
        location: where the list is; None: the one of before stays in force.
        rules: the limits of a download.

    Raises:
        SheetError: the list cannot be read, and there is none of before.
    """
    with store.lock("removals"):
        known = store.removals.read()
        removals, problem = read_or_keep(known, location, rules)
        if removals != known:
            store.removals.write(removals)
        removals = replace(removals, found=_find_pictures(store, removals))
        if removals != known:
            store.removals.write(removals)
        found = _find_loaded(database, removals)
        raws = raw_store.find_all(sorted(raw_store.list_shards()))
        returning = _let_return(raw_store, raws, removals)
        audit = _describe(removals, found, _count_removed(raws), returning)
        if found.load_ids and found.load_ids != known.pending:
            removals = replace(removals, taken_out_at=datetime.now(tz=UTC).isoformat())
        removals = replace(removals, pending=found.load_ids)
        if not removals.audits or replace(audit, at="") != replace(removals.audits[0], at=""):
            removals = replace(removals, audits=(audit, *removals.audits)[:MAX_AUDITS])
        if removals.sha256:
            store.removals.write(removals)
    return Applied(removals, problem, audit)


def list_pending(connection: duckdb.DuckDBPyConnection, removals: Removals) -> list[str]:
    """Returns the shards whose present load holds rows on the list."""
    if not removals.pending:
        return []
    load_ids = connection.execute(load_sql("removals/select_load_ids")).fetchall()
    return sorted(shard for shard, load_id in load_ids if removals.pending.get(shard) == load_id)


def describe_pending(pending: list[str]) -> str:
    """Says of which shards rows are to be removed, and what helps."""
    more = f" and {len(pending) - 1:,} more shards" if len(pending) > 1 else ""
    return (
        f"{pending[0]}{more}: rows of it are to be removed; load it again "
        "(`laion backfill --missing`)"
    )


def find_pending(database: Database, store: LanceStore) -> list[str]:
    """Returns the same, of a database that need not be there yet."""
    removals = store.removals.read()
    if not removals.pending or not database.exists():
        return []
    with database.read() as connection:
        return list_pending(connection, removals)


def list_returning(raw_store: RawStore) -> list[str]:
    """Returns the shards that are to be fetched anew, as entries came off the list."""
    raws = raw_store.find_all(sorted(raw_store.list_shards()))
    return [shard for shard, raw in raws.items() if raw.is_wanted_whole]


def _count_removed(raws: Mapping[str, RawShard]) -> Counter[str]:
    """Returns how many rows were removed from the raw files, by the value of their entry."""
    removed: Counter[str] = Counter()
    for raw in raws.values():
        removed.update({value: len(rows) for value, rows in raw.removed_rows.items()})
    return removed


def _let_return(
    raw_store: RawStore, raws: Mapping[str, RawShard], removals: Removals
) -> dict[str, int]:
    """Lets shards be fetched anew whose removed rows are no longer on the list.

    Returns:
        How many rows of each wait for that.
    """
    values = {entry.value for entry in removals.entries}
    returning = {}
    for shard, raw in raws.items():
        removed = {
            row for value in values & raw.removed_rows.keys() for row in raw.removed_rows[value]
        }
        count = len(raw.list_removed()) - len(removed)
        if raw.is_wanted_whole != (count > 0):
            raw_store.want_whole(shard, is_wanted=count > 0)
        if count:
            returning[shard] = count
    return returning


def _find_pictures(store: LanceStore, removals: Removals) -> dict[str, tuple[int, ...]]:
    found = {value: set(ids) for value, ids in removals.found.items()}
    pictures = Matcher.of(removals).pictures
    dataset = store.find("images")
    if pictures and dataset is not None:
        for value, ids in find_pictures(dataset, pictures).items():
            found.setdefault(value, set()).update(ids)
    return {value: tuple(sorted(ids)) for value, ids in sorted(found.items())}


def _find_loaded(database: Database, removals: Removals) -> FoundRows:
    matcher = Matcher.of(removals)
    if matcher.is_empty or not database.exists():
        return FoundRows({}, 0, frozenset())
    with database.read() as connection:
        return find_loaded(connection, matcher)


def _describe(
    removals: Removals,
    found: FoundRows,
    removed: Counter[str],
    returning: Mapping[str, int],
) -> Audit:
    matched = found.values | removed.keys()
    listed = {entry.value for entry in removals.entries}
    return Audit(
        at=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        sha256=removals.sha256,
        entry_count=len(removals.entries),
        row_count=found.row_count + sum(n for value, n in removed.items() if value in listed),
        shard_count=len(found.load_ids),
        unmatched=tuple(
            (entry.line, entry.value[:DIGITS_TOLD])
            for entry in removals.entries
            if entry.value not in matched
        ),
        returning=tuple(returning.items()),
    )
