"""Deletes releases, and versions of the Lance tables that nothing holds any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.lance_images.table import open_table, table_path
from laion_assets.stores.locks import lock

if TYPE_CHECKING:
    pass

from laion_assets.releases.catalog import DELETED_KEY, TABLES, find_release

DEFAULT_KEEP_DAYS = 7


@dataclass(frozen=True)
class Cleaning:
    """What a clean-up removed from the Lance tables."""

    version_count: int = 0
    freed_bytes: int = 0


def delete_release(lance_dir: Path, tag: str, keep_days: float = DEFAULT_KEEP_DAYS) -> Cleaning:
    """Removes the tag of a release, and the versions that nothing holds any more.

    Raises:
        LaionError: there is no such release.
    """
    import lance

    with lock(lance_dir, "release"):
        find_release(lance_dir, tag)
        images = lance.dataset(table_path(lance_dir, "images"))
        images.update_metadata({DELETED_KEY + tag: f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M}"})
        # `images` first: without its tag the rest is no release.
        for table in reversed(TABLES):
            dataset = lance.dataset(table_path(lance_dir, table))
            if tag in dataset.tags.list():
                dataset.tags.delete(tag)
        return clean_versions(lance_dir, keep_days)


def clean_versions(lance_dir: Path, keep_days: float) -> Cleaning:
    """Removes the versions of the Lance tables that are older and have no tag.

    Files that no version names, as a killed process leaves them, go too, after a week (Lance's
    own rule, lest those of a commit on its way are taken).
    """
    version_count = freed_bytes = 0
    for table in TABLES:
        # A dataset without rows is false, as an empty list is.
        if (dataset := open_table(table_path(lance_dir, table))) is not None:
            removed = dataset.cleanup_old_versions(
                timedelta(days=keep_days), error_if_tagged_old_versions=False
            )
            version_count += removed.old_versions
            freed_bytes += removed.bytes_removed
    return Cleaning(version_count, freed_bytes)
