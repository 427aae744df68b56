"""Removes versions of the tables of subsets that nothing holds any more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.releases.catalog import list_deleted
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.removal_file import Removals
from laion_assets.subsets.subset_record import find_removed, open_subsets

if TYPE_CHECKING:
    import lance


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


def list_unclean(store: LanceStore) -> list[str]:
    """Returns the subsets that have, or may have, rows that are on the list of removals."""
    removals = store.removals.read()
    return [name for name, dataset in open_subsets(store) if _holds_removed(dataset, removals)]


def _holds_removed(dataset: lance.LanceDataset, removals: Removals) -> bool:
    try:
        return len(find_removed(dataset, removals)) > 0
    except LaionError:
        return True
