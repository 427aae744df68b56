"""Finds, lists and opens releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.releases.manifest import (
    Manifest,
    read_manifest,
)
from laion_assets.stores.lance_store import LanceStore

if TYPE_CHECKING:
    import lance


# Releases from before `site_counts` lack it: ask the record of a release which of them it has.
COUNT_TABLES = ("domain_counts", "site_counts", "entity_counts")
# `images` last: its tag makes the release.
TABLES = (*COUNT_TABLES, "images")
DELETED_KEY = "laion_assets.deleted_release."


def list_releases(store: LanceStore) -> Iterator[Manifest]:
    """Yields the releases, the newest first.

    Tags of others are no releases, and neither is one of which a table was lost.
    """
    dataset = store.find("images")
    if dataset is None:
        return
    tags = list_tags(store)
    for version, name in sorted(((v, n) for n, v in tags["images"].items()), reverse=True):
        if manifest := _read_release(dataset, name, version, tags):
            yield manifest


def read_release(store: LanceStore, tag: str) -> Manifest | None:
    """Returns the release of a tag, without reading the others; None if there is none."""
    dataset = store.find("images")
    tags = list_tags(store)
    if dataset is None or tag not in tags["images"]:
        return None
    return _read_release(dataset, tag, tags["images"][tag], tags)


def _read_release(
    dataset: lance.LanceDataset, tag: str, version: int, tags: Mapping[str, Mapping[str, int]]
) -> Manifest | None:
    manifest = read_manifest(dataset.checkout_version(version), tag)
    if manifest and all(tag in tags[table] for table in list_count_tables(manifest)):
        return manifest
    return None


def list_damaged(store: LanceStore) -> list[str]:
    """Returns the names of releases of which a table is gone: they cannot be used any more.

    A tag of `images` that no table of counts has is somebody else's.
    """
    tags = list_tags(store)
    others = {name for table in COUNT_TABLES for name in tags[table]}
    whole = {manifest.release for manifest in list_releases(store)}
    return sorted((others & tags["images"].keys()) - whole)


def newest_release(store: LanceStore) -> Manifest | None:
    """Returns the newest release, if there is one."""
    return next(list_releases(store), None)


def find_release(store: LanceStore, tag: str | None = None) -> Manifest:
    """Returns a release, the newest if none is named.

    Raises:
        LaionError: there is no such release.
    """
    found = newest_release(store) if tag is None else read_release(store, tag)
    if found is not None:
        return found
    newest = newest_release(store)
    damaged = list_damaged(store)
    if tag in damaged or (newest is None and damaged):
        raise LaionError(
            f"{store.uri('images')}: of release {tag or damaged[-1]} a table is gone; restore a "
            "backup (`laion restore`), or delete it (`laion release delete`)",
            code="release-damaged",
        )
    if newest is None:
        raise LaionError(
            "no release yet; materialize `release` (`laion backfill --all`) first",
            code="release-missing",
        )
    images = store.find("images")
    deleted_at = None if images is None else images.metadata.get(f"{DELETED_KEY}{tag}")
    was_deleted = f", it was deleted at {deleted_at} UTC" if deleted_at else ""
    raise LaionError(
        f"{store.uri('images')}: no release {tag!r}{was_deleted}; the newest is {newest.release}",
        code="release-unknown",
    )


def open_released(store: LanceStore, manifest: Manifest, table: str) -> lance.LanceDataset:
    """Opens a Lance table as a release has it."""
    return store.open(table, manifest.release)


def list_count_tables(manifest: Manifest) -> tuple[str, ...]:
    """Returns the tables of counts that a release has."""
    return tuple(table for table in COUNT_TABLES if table in manifest.lance_versions)


def list_tags(
    store: LanceStore, images: lance.LanceDataset | None = None
) -> dict[str, dict[str, int]]:
    """Returns the tags of each table, and the versions that they hold.

    Args:
        store: the Lance tables.
        images: the table `images`, at whatever version, if it is open.
    """
    tables = {table: store.find(table) for table in COUNT_TABLES}
    tables["images"] = store.find("images") if images is None else images
    return {
        table: {name: int(tag["version"]) for name, tag in dataset.tags.list().items()}
        if dataset is not None
        else {}
        for table, dataset in tables.items()
    }


def list_deleted(dataset: lance.LanceDataset) -> set[str]:
    """Returns the names of deleted releases."""
    return {key.removeprefix(DELETED_KEY) for key in dataset.metadata if DELETED_KEY in key}
