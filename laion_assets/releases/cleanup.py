"""Deletes releases, and versions of the Lance tables that nothing holds any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from laion_assets.releases.catalog import DELETED_KEY, TABLES, find_release, list_damaged
from laion_assets.stores.lance_files import list_kept_versions
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.postgres import check_locks

DEFAULT_KEEP_DAYS = 7


@dataclass(frozen=True)
class Cleaning:
    """What a clean-up removed from the Lance tables."""

    version_count: int = 0
    freed_bytes: int = 0


def delete_release(store: LanceStore, tag: str, keep_days: float = DEFAULT_KEEP_DAYS) -> Cleaning:
    """Removes the tag of a release, and the versions that nothing holds any more.

    Raises:
        LaionError: there is no such release.
    """
    with store.lock("release"):
        if tag not in list_damaged(store):
            find_release(store, tag)
        images = store.open("images")
        images.update_metadata({DELETED_KEY + tag: f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M}"})
        # `images` first: without its tag the rest is no release.
        for table in reversed(TABLES):
            dataset = store.find(table)
            if dataset is not None and tag in dataset.tags.list():
                dataset.tags.delete(tag)
        return clean_versions(store, keep_days)


def clean_versions(store: LanceStore, keep_days: float, *, is_thorough: bool = False) -> Cleaning:
    """Removes the versions of the Lance tables that are older and have no tag.

    Files that no version names, as a killed process leaves them, go too, after a week (Lance's
    own rule, lest those of a commit on its way are taken). Columns that were not whole when their
    writer died go at once.

    Args:
        store: the Lance tables.
        keep_days: for how long versions stay that no tag holds.
        is_thorough: whether files that no version names go at once; nobody may write meanwhile.
    """
    check_locks()
    version_count = freed_bytes = 0
    for table in TABLES:
        # A dataset without rows is false, as an empty list is.
        if (dataset := store.find(table)) is None:
            continue
        # Lance reads all manifests before it removes the first.
        old = store.list_versions_before(table, datetime.now(tz=UTC) - timedelta(days=keep_days))
        if is_thorough or old - list_kept_versions(dataset):
            removed = dataset.cleanup_old_versions(
                timedelta(days=keep_days),
                delete_unverified=is_thorough,
                error_if_tagged_old_versions=False,
            )
            version_count += removed.old_versions
            freed_bytes += removed.bytes_removed
    freed_bytes += store.clear_staging()
    return Cleaning(version_count, freed_bytes)
