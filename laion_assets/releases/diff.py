"""Says what changed from one release to another: shards, and the counts of domains and names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from laion_assets.releases.catalog import find_release, open_released
from laion_assets.releases.manifest import DIGESTED, Manifest, Record
from laion_assets.stores.columns import DECLARED
from laion_assets.stores.database import open_engine
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.sql import load_sql, quote_identifier

DEFAULT_TOP = 10
# What makes a row of each table of counts.
KEYS = {"domain_counts": ("domain",), "entity_counts": ("kind", "name")}


class CountChange(Record):
    """How the count of a domain or a name moved.

    Attributes:
        kind: of the name; None for a domain.
        name: the name or the domain.
        before: images in the earlier release; 0 if it was not there.
        after: images in the later one.
    """

    kind: str | None
    name: str
    before: int
    after: int


class Moves(Record):
    """Which counts of a table moved.

    Attributes:
        changed_count: how many did.
        risers: those that gained most, the most first.
        fallers: those that lost most, the most first.
    """

    changed_count: int
    risers: tuple[CountChange, ...]
    fallers: tuple[CountChange, ...]


class ColumnChange(Record):
    """How a declared column changed.

    Attributes:
        column: its name.
        what: `added`, `removed`, `defined otherwise`, or `other values`.
        values_before: rows with a value in the earlier release.
        values_after: rows with a value in the later one.
    """

    column: str
    what: str
    values_before: int
    values_after: int

    def describe(self) -> str:
        """Returns it in one line."""
        counts = f"{self.values_before:,} -> {self.values_after:,}"
        return f"column {self.column}: {self.what}, values {counts}"


class ReleaseDiff(Record):
    """What changed between two releases.

    Attributes:
        before: tag of the one.
        after: tag of the other.
        is_same_content: whether both have the same content digest.
        image_count_before: images in the one.
        image_count_after: images in the other.
        shards_added: shards that only the other has.
        shards_removed: shards that only the one has.
        shards_changed: shards that they have from different files, or cleaned differently.
        sheets_changed: kinds whose sheet differs, came or went.
        columns_changed: declared columns that differ, came or went.
        domains: how the counts of domains moved.
        names: how the counts of names moved.
    """

    before: str
    after: str
    is_same_content: bool
    image_count_before: int
    image_count_after: int
    shards_added: tuple[str, ...]
    shards_removed: tuple[str, ...]
    shards_changed: tuple[str, ...]
    sheets_changed: tuple[str, ...]
    columns_changed: tuple[ColumnChange, ...]
    domains: Moves
    names: Moves


def compare_releases(
    store: LanceStore, before: str, after: str, top: int = DEFAULT_TOP
) -> ReleaseDiff:
    """Compares two releases.

    Args:
        store: the Lance tables.
        before: tag of the one.
        after: tag of the other.
        top: how many risers and fallers to name at most.

    Raises:
        LaionError: there is no such release.
    """
    one, other = find_release(store, before), find_release(store, after)
    old_shards, new_shards = _digest_shards(one), _digest_shards(other)
    old_sheets = {sheet.kind: sheet.sha256 for sheet in one.sheets}
    new_sheets = {sheet.kind: sheet.sha256 for sheet in other.sheets}
    return ReleaseDiff(
        before=one.release,
        after=other.release,
        is_same_content=one.content_sha256 == other.content_sha256,
        image_count_before=one.row_counts["images"],
        image_count_after=other.row_counts["images"],
        shards_added=tuple(sorted(new_shards.keys() - old_shards.keys())),
        shards_removed=tuple(sorted(old_shards.keys() - new_shards.keys())),
        shards_changed=tuple(
            shard
            for shard in sorted(old_shards.keys() & new_shards.keys())
            if old_shards[shard] != new_shards[shard]
        ),
        sheets_changed=tuple(sorted(dict(old_sheets.items() ^ new_sheets.items()))),
        columns_changed=tuple(_compare_columns(one, other)),
        domains=_find_moves(store, one, other, "domain_counts", top),
        names=_find_moves(store, one, other, "entity_counts", top),
    )


def _digest_shards(manifest: Manifest) -> Mapping[str, tuple[object, ...]]:
    return {
        shard.shard: tuple(getattr(shard, name) for name in DIGESTED) for shard in manifest.shards
    }


def _compare_columns(one: Manifest, other: Manifest) -> Iterator[ColumnChange]:
    old, new = ({c.column: c for c in manifest.declared} for manifest in (one, other))
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            what = "added" if before is None else "removed"
        elif before.definition_sha256 != after.definition_sha256:
            what = "defined otherwise"
        elif _digest_values(one, name) != _digest_values(other, name):
            what = "other values"
        else:
            continue
        counts = (column.value_count if column else 0 for column in (before, after))
        yield ColumnChange(
            column=name, what=what, values_before=next(counts), values_after=next(counts)
        )


def _digest_values(manifest: Manifest, column: str) -> set[tuple[str, str]]:
    return {
        (each.shard, each.digest)
        for each in manifest.columns
        if each.column_set == DECLARED + column and each.value_count
    }


def _find_moves(store: LanceStore, one: Manifest, other: Manifest, table: str, top: int) -> Moves:

    keys = ", ".join(map(quote_identifier, KEYS[table]))
    with open_engine() as connection:
        for name, manifest in (("before", one), ("after", other)):
            connection.register(name, open_released(store, manifest, table).to_table())
        connection.execute(load_sql("releases/create_moves").format(keys=keys))
        ((changed_count,),) = connection.execute(load_sql("releases/count_moves")).fetchall()
        risers, fallers = (
            connection.execute(
                load_sql("releases/select_moves").format(keys=keys), {"sign": sign, "top": top}
            ).fetchall()
            for sign in (1, -1)
        )
    return Moves(
        changed_count=changed_count,
        risers=tuple(map(_describe, risers)),
        fallers=tuple(map(_describe, fallers)),
    )


def _describe(row: tuple[object, ...]) -> CountChange:
    *kind, name, before, after = row
    return CountChange.model_validate(
        {"kind": kind[0] if kind else None, "name": name, "before": before, "after": after}
    )
