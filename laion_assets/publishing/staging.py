"""Makes the published form of a release beside the data: links to its files, and new versions.

The rows are not written again. What is made anew is small: the parts of each index are merged, so
that a reader far away asks for few files, and the last version has the record of the release
without what is private. A row that was deleted in a fragment that other rows still use is taken out
of the file: it would be published with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.lance_images.indices import SMALL_FRAGMENT_ROWS
from laion_assets.publishing.scrub import scrub_record
from laion_assets.publishing.target import DATA, TABLES, StagedFile, There, name_folder
from laion_assets.releases.catalog import open_released
from laion_assets.releases.manifest import MANIFEST_KEY, Manifest, Record
from laion_assets.stores.disk_space import check_space, estimate_release
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.published_shards import (
    PUBLISHED_KEY,
    RELEASE_KEY,
    PublishedShard,
    write_published_shards,
)
from laion_assets.stores.version_files import list_version_files

if TYPE_CHECKING:
    import lance

_NOTE = "staged.json"


class _Note(Record):
    """What is staged; written last.

    Attributes:
        original: the record of the release.
        published: the same without what is private.
        content: files that nobody reads before a version names them.
        heads: those that make it visible, in the order in which they have to come.
    """

    original: Manifest
    published: Manifest
    content: tuple[str, ...]
    heads: tuple[str, ...]


@dataclass(frozen=True)
class Staged:
    """The published form of a release.

    Attributes:
        manifest: its record without what is private.
        content: files that nobody reads before a version names them.
        heads: manifests and tags, which make it visible, in their order.
    """

    manifest: Manifest
    content: tuple[StagedFile, ...] = ()
    heads: tuple[StagedFile, ...] = ()


def stage_release(store: LanceStore, manifest: Manifest, there: There, folder: Path) -> Staged:
    """Makes the published form of a release, or takes up what an attempt that was cut off made.

    Args:
        store: the Lance tables.
        manifest: the record of the release.
        there: what the destination has.
        folder: where it is made, on the disk of the tables; whatever else is in it is removed.

    Raises:
        DiskSpaceError: the disk has no room for it.
    """
    staged = _find_staged(manifest, there, folder)
    if staged is not None:
        return staged
    shutil.rmtree(folder, ignore_errors=True)
    needed = _estimate(open_released(store, manifest, "images"))
    check_space(folder, needed, f"publishing release {manifest.release}")
    copy = LanceStore(folder / DATA)
    with store.lock("release"):
        for table, name in TABLES.items():
            tracked = list_version_files(open_released(store, manifest, table))
            store.copy_files(table, tracked, Path(copy.uri(name)))
    versions = {}
    for name in TABLES.values():
        if name != "train":
            _take_out_lists(copy, name)
        _take_out_deleted(copy, name)
        _merge_indices(copy, name)
        versions[name] = _pass_version(copy, name, there.newest_version(name)) + 1
    published = scrub_record(manifest, versions)
    files: dict[str, list[str]] = {}
    for name, version in versions.items():
        properties = _describe_train(published) if name == "train" else {}
        dataset = _commit(copy, name, manifest.release, properties)
        assert dataset.version == version, (dataset.version, version)
        copy.create_tag(name, manifest.release, version)
        files[name] = [f"{name_folder(name)}/{path}" for path in list_version_files(dataset)]
    note = _Note(
        original=manifest,
        published=published,
        content=tuple(p for paths in files.values() for p in paths if not _is_version(p)),
        heads=tuple(head for name in files for head in _list_heads(name, files, manifest.release)),
    )
    (folder / _NOTE).write_text(note.model_dump_json(), encoding="utf-8")
    return _open_staged(note, folder)


def _estimate(images: lance.LanceDataset) -> int:
    """Returns the bytes that are made anew at most: merged indices, and files with deleted rows."""
    rewritten = (fragment for fragment in images.get_fragments() if fragment.num_deletions)
    files = (file for fragment in rewritten for file in fragment.data_files())
    return estimate_release(images) + sum(file.file_size_bytes or 0 for file in files)


def _find_staged(manifest: Manifest, there: There, folder: Path) -> Staged | None:
    """Returns what an earlier attempt made whole, if it still fits what is there."""
    try:
        note = _Note.model_validate_json((folder / _NOTE).read_bytes())
    except (OSError, ValueError):
        return None
    if note.original != manifest:
        return None
    staged = _open_staged(note, folder)
    for table, version in note.published.lance_versions.items():
        newest = there.newest_version(table)
        own = [f for f in staged.heads if f.path.startswith(name_folder(table)) and there.has(f)]
        # The newest one there is older, or it is this one, which an attempt has brought.
        if newest > version or (newest == version and not own):
            return None
    return staged


def _open_staged(note: _Note, folder: Path) -> Staged:
    return Staged(
        note.published,
        tuple(StagedFile(path, folder / path) for path in note.content),
        tuple(StagedFile(path, folder / path) for path in note.heads),
    )


def _take_out_lists(store: LanceStore, table: str) -> None:
    """Takes out the other columns of the lists of names, which may be private as their links are.

    They lie in the metadata of a table of counts, and of its file, so the table is written again.
    """
    rows = store.open(table).to_table()
    if rows.schema.metadata:
        store.overwrite(table, rows.replace_schema_metadata(None))


def _take_out_deleted(store: LanceStore, table: str) -> None:
    dataset = store.open(table)
    fragments = dataset.get_fragments()
    whole = [f.fragment_id for f in fragments if not f.num_deletions]
    if len(whole) < len(fragments):
        dataset.optimize.compact_files(
            target_rows_per_fragment=SMALL_FRAGMENT_ROWS,
            materialize_deletions=True,
            materialize_deletions_threshold=0.0,
            excluded_fragment_ids=whole,
        )


def _merge_indices(store: LanceStore, table: str) -> None:
    for index in store.open(table).describe_indices():
        if (parts := len(index.segments)) > 1:
            store.open(table).optimize.optimize_indices(
                num_indices_to_merge=parts, index_names=[index.name]
            )


def _pass_version(store: LanceStore, table: str, newest: int) -> int:
    """Makes versions until the next one is newer than the newest one there; returns the last.

    A table that was made anew counts from 1 again.
    """
    while (dataset := store.open(table)).version < newest:
        _commit(store, table, "", {})
    return int(dataset.version)


def _commit(
    store: LanceStore, table: str, release: str, properties: Mapping[str, str]
) -> lance.LanceDataset:
    import lance

    update = lance.LanceOperation.UpdateMap({RELEASE_KEY: release})
    transaction = lance.Transaction(
        store.open(table).version,
        lance.LanceOperation.UpdateConfig(table_metadata_updates=update),
        transaction_properties=dict(properties),
    )
    return store.commit(table, transaction)


def _describe_train(manifest: Manifest) -> dict[str, str]:
    """Returns what the version of `train` says: the record, and what it takes to read it back."""
    columns: dict[str, dict[str, str]] = {}
    for one in manifest.columns:
        columns.setdefault(one.shard, {})[one.column_set] = one.digest
    shards = (
        PublishedShard(
            shard=shard.shard,
            sha256=shard.sha256,
            file_rows=shard.file_rows,
            image_count=shard.image_count,
            id_sum=shard.id_sum,
            is_sample=shard.is_sample,
            columns=columns.get(shard.shard, {}),
        )
        for shard in manifest.shards
    )
    return {
        MANIFEST_KEY: manifest.model_dump_json(),
        PUBLISHED_KEY: write_published_shards(shards),
    }


def _is_version(path: str) -> bool:
    return "/_versions/" in path


def _list_heads(table: str, files: Mapping[str, list[str]], release: str) -> list[str]:
    versions = [path for path in files[table] if _is_version(path)]
    return [*versions, f"{name_folder(table)}/_refs/tags/{release}.json"]
