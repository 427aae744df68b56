"""Which subsets are as they are declared, of the newest release."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.releases.catalog import newest_release
from laion_assets.releases.manifest import Manifest, Record
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.removal_file import Removals
from laion_assets.subsets.subset_record import (
    SubsetRecord,
    digest_subset,
    find_made,
    is_current,
    list_made,
)


class SubsetStatus(Record):
    """A subset, as `laion status` shows it.

    Attributes:
        subset: its name.
        state: done; behind: it is of another release or definition; missing: it was not made to its
            end; no release: there is none yet; not declared: `curation.toml` has it no more, and
            its table is left.
        release: the tag of the release that it is a part of; None if it is not there.
        row_count: its rows; None if it is not there.
        made_at: when, in UTC; None if it is not there.
    """

    subset: str
    state: str
    release: str | None
    row_count: int | None
    made_at: datetime | None

    def describe(self) -> str:
        """Returns it in one line."""
        if self.state == "missing":
            return (
                f"Subset {self.subset}: missing; `laion backfill --missing` makes it. The web UI "
                "and its sensor know a new subset after *Reload all*"
            )
        if self.release is None:
            return f"Subset {self.subset}: {self.state}"
        figures = f"{self.row_count:,} rows of {self.release}"
        if self.state == "not declared":
            return (
                f"Subset {self.subset}: {figures}; curation.toml does not declare it any more, and "
                f'its table is left: `lancedb.connect(…).drop_table("{self.subset}")` removes it'
            )
        return f"Subset {self.subset}: {figures}" + (", behind" if self.state == "behind" else "")


def read_subsets_status(
    store: LanceStore, subsets: Collection[DeclaredSubset]
) -> tuple[SubsetStatus, ...]:
    """Returns the state of each subset, those that are declared no more at the end."""
    newest = newest_release(store)
    made = list_made(store)
    removals = store.removals.read()
    left = sorted(made.keys() - {subset.name for subset in subsets})
    states = [
        (each.name, _name_state(made.get(each.name), each, newest, removals), made.get(each.name))
        for each in subsets
    ]
    states += [(name, "not declared", made[name]) for name in left]
    return tuple(
        SubsetStatus(
            subset=name,
            state=state,
            release=record.release if record else None,
            row_count=record.row_count if record else None,
            made_at=record.made_at if record else None,
        )
        for name, state, record in states
    )


def name_behind(store: LanceStore, subsets: Collection[DeclaredSubset]) -> str | None:
    """Returns a word for the subsets that have to be made; None if there are none."""
    newest = newest_release(store) if subsets else None
    if newest is None:
        return None
    words = list(_list_behind(store, subsets, newest))
    return f"subsets of {newest.release}: {', '.join(words)}" if words else None


def _list_behind(
    store: LanceStore, subsets: Collection[DeclaredSubset], newest: Manifest
) -> Iterator[str]:
    removals = store.removals.read()
    for subset in subsets:
        if _name_state(find_made(store, subset.name), subset, newest, removals) != "done":
            yield f"{subset.name} {digest_subset(subset)} {removals.digest}"


def _name_state(
    record: SubsetRecord | None,
    subset: DeclaredSubset,
    newest: Manifest | None,
    removals: Removals,
) -> str:
    if newest is None:
        return "no release"
    if record is None:
        return "missing"
    return "done" if is_current(record, subset, newest, removals) else "behind"
