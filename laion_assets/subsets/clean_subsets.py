"""Removes versions of the tables of subsets that nothing holds any more."""

from __future__ import annotations

from datetime import timedelta

from laion_assets.errors import LaionError
from laion_assets.releases.catalog import list_deleted
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets.subset_record import find_removed, is_subset


def clean_subset(
    store: LanceStore, name: str, keep_days: float, *, is_thorough: bool = False
) -> int:
    """Removes the tags of releases that were deleted, and old versions that no tag holds.

    Args:
        store: the Lance tables.
        name: of the subset.
        keep_days: for how long versions stay that no tag holds.
        is_thorough: whether files that no version names go at once; nobody may write meanwhile.

    Returns:
        How many bytes that freed.
    """
    dataset = store.open(name)
    deleted = list_deleted(store.open("images"))
    for tag in dataset.tags.list():
        if tag in deleted:
            dataset.tags.delete(tag)
    removed = dataset.cleanup_old_versions(
        timedelta(days=keep_days), delete_unverified=is_thorough, error_if_tagged_old_versions=False
    )
    return int(removed.bytes_removed)


def list_subsets(store: LanceStore) -> list[str]:
    """Returns the names of all tables that are subsets, whole or not, declared or not."""
    tables = ((name, store.find(name)) for name in store.list_tables())
    return [name for name, dataset in tables if dataset is not None and is_subset(dataset)]


def holds_removed(store: LanceStore, name: str) -> bool:
    """Returns whether a subset has, or may have, rows that are on the list of removals."""
    removals = store.removals.read()
    try:
        return len(find_removed(store.open(name), removals)) > 0
    except LaionError:
        return True
