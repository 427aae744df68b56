"""Deletes old releases that hold removed rows, and then every byte that is left of these rows.

A table is not smaller for a row that was deleted from it: Lance keeps old versions, DuckDB and
SQLite their pages, and Dagster what its pages showed. Everything that may have a word of a removed
row is written anew or deleted. Each step does nothing where it was done before, so what was cut off
is done again by the same call.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.errors import LaionError
from laion_assets.exports.parquet_files import RECORD, read_export
from laion_assets.orchestration.dead_runs import list_unfinished
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.releases.catalog import find_release, list_releases
from laion_assets.releases.cleanup import clean_versions, delete_release
from laion_assets.releases.hidden_rows import find_hidden
from laion_assets.releases.manifest import Manifest
from laion_assets.removals.apply_list import describe_pending, find_pending
from laion_assets.removals.matching import Matcher
from laion_assets.runs.clean_history import list_runs, remove_runs
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.picture_cache import PictureCache
from laion_assets.stores.postgres import ask, remove_old_rows
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.scratch import remove_scratch
from laion_assets.stores.sql import load_sql
from laion_assets.stores.sqlite_file import rewrite_sqlite
from laion_assets.stores.whole_folder import recover_folder
from laion_assets.subsets.clean_subsets import clean_subset, list_unclean
from laion_assets.subsets.subset_record import open_subsets

if TYPE_CHECKING:
    from laion_assets.settings import Settings


@dataclass(frozen=True)
class Holder:
    """A release with rows that were removed since.

    Attributes:
        manifest: its record.
        row_count: how many of its rows are on the list of removals.
    """

    manifest: Manifest
    row_count: int


@dataclass(frozen=True)
class Purged:
    """What was deleted.

    Attributes:
        releases: tags.
        freed_bytes: of the Lance tables.
        run_count: runs of Dagster's history.
        picture_count: pictures of the cache.
        exports: those of the data folder that were, as `laion export` names them.
        holders: releases that hold removed rows still.
        subsets: those that do, because they were not made again.
    """

    releases: tuple[str, ...]
    freed_bytes: int
    run_count: int
    picture_count: int
    exports: tuple[str, ...]
    holders: tuple[Holder, ...]
    subsets: tuple[str, ...]


def find_holders(store: LanceStore) -> tuple[Holder, ...]:
    """Returns the releases that hold rows on the list of removals, the newest first."""
    counted = ((manifest, len(find_hidden(store, manifest))) for manifest in list_releases(store))
    return tuple(Holder(manifest, count) for manifest, count in counted if count)


def choose_holders(store: LanceStore, tags: Sequence[str]) -> tuple[Holder, ...]:
    """Returns the releases of these tags.

    Raises:
        LaionError: one of them is no release, holds no removed row, or is the newest.
    """
    holders = {holder.manifest.release: holder for holder in find_holders(store)}
    for tag in dict.fromkeys(tags):
        newest, release = find_release(store), find_release(store, tag)
        if tag not in holders:
            raise LaionError(
                f"release {tag} holds no removed row; `laion release delete {tag}` deletes it",
                code="purge-nothing-removed",
            )
        if release.release == newest.release:
            raise LaionError(
                f"release {tag} is the newest; make one without the removed rows first "
                "(`laion backfill --missing`)",
                code="purge-newest-release",
            )
    return tuple(holders[tag] for tag in dict.fromkeys(tags))


def purge(settings: Settings, instance: dg.DagsterInstance, tags: Sequence[str]) -> Purged:
    """Deletes releases, and every byte of removed rows that no other release holds.

    Args:
        settings: where everything is.
        instance: Dagster's history.
        tags: releases that hold removed rows, as `choose_holders` takes them.

    Raises:
        LaionError: a run has not ended, a shard is not loaded again without the rows yet, or a
            release is none of these; nothing was deleted then.
        DatabaseBusyError: another program has the DuckDB file.
        DiskSpaceError: the disk has no room for a second DuckDB file.
    """
    store, database = LanceStore.of(settings), Database.of(settings)
    _check_idle(instance)
    _check_loaded(database, store)
    chosen = choose_holders(store, tags)
    for holder in chosen:
        delete_release(store, holder.manifest.release, keep_days=0)
    with store.lock("release"):
        freed_bytes = clean_versions(store, 0, is_thorough=True).freed_bytes
    for name in [name for name, _ in open_subsets(store)]:
        with store.lock(f"subset-{name}"):
            freed_bytes += clean_subset(store, name, 0, is_thorough=True)
    if database.exists():
        database.rewrite()
    matcher = Matcher.of(store.removals.read())
    cache = PictureCache(settings.picture_cache_dir, "")
    pictures = cache.forget(lambda url: matcher.match_url(url) is not None, matcher.pictures)
    runs = _purge_history(settings, instance, database, store)
    exports = tuple(_delete_exports(settings, store))
    _remove_leftovers(settings, store)
    return Purged(
        releases=tuple(holder.manifest.release for holder in chosen),
        freed_bytes=freed_bytes,
        run_count=runs,
        picture_count=pictures,
        exports=exports,
        holders=find_holders(store),
        subsets=tuple(list_unclean(store)),
    )


def _check_idle(instance: dg.DagsterInstance) -> None:
    for run in list_unfinished(instance):
        raise LaionError(
            f"run {run.run_id} of {run.job_name} has not ended; wait for it or terminate it in the "
            "web UI, then purge again",
            code="purge-while-running",
        )


def _check_loaded(database: Database, store: LanceStore) -> None:
    if pending := find_pending(database, store):
        raise LaionError(f"{describe_pending(pending)}, then purge", code="purge-removals-pending")


def _purge_history(
    settings: Settings, instance: dg.DagsterInstance, database: Database, store: LanceStore
) -> int:
    """Removes the runs whose pages may show removed rows; returns how many they are."""
    old = set(_find_old_runs(instance, database, store))
    remove_runs(instance, old)
    if settings.catalog is not None:
        ask(settings.catalog, "stores/catalog_delete_checks", runs=sorted(old))
        remove_old_rows(settings.catalog)
        return len(old)
    events = settings.history_dir / "history"
    index = events / "runs" / "index.db"
    deletions = [load_sql(f"stores/history_{name}") for name in ("delete_checks", "forget_shown")]
    rewrite_sqlite(index, deletions, sorted(old))
    rewrite_sqlite(events / "runs.db")
    rewrite_sqlite(settings.history_dir / "schedules" / "schedules.db")
    return len(old)


def _find_old_runs(
    instance: dg.DagsterInstance, database: Database, store: LanceStore
) -> Iterator[str]:
    """Yields the runs from before the shards were loaded without the rows, and before the release.

    A run of a shard shows examples of its rows, and one of all shards those of its checks.
    """
    taken_out_at = store.removals.read().taken_out_at
    if not taken_out_at or not database.exists():
        return
    with database.read() as connection:
        loaded = dict(connection.execute(load_sql("removals/select_removed_shards")).fetchall())
    # Checks of all shards may have shown such rows until the last shard was without them.
    until = max(loaded.values(), default=datetime.fromisoformat(taken_out_at))
    for record in list_runs(instance):
        run, ended_at = record.dagster_run, record.update_timestamp.astimezone(UTC)
        shard = run.tags.get(PARTITION_TAG)
        is_old = ended_at < loaded.get(shard, until)
        # Its record is that of the present load.
        if run.is_finished and is_old and (shard is None or shard in loaded):
            yield run.run_id


def _delete_exports(settings: Settings, store: LanceStore) -> Iterator[str]:
    """Deletes the exports that were made before the rows were removed; yields what they were."""
    taken_out_at = store.removals.read().taken_out_at
    if not taken_out_at:
        return
    until = datetime.fromisoformat(taken_out_at).timestamp()
    file, folder = settings.datasette_file, settings.parquet_dir
    if file.exists() and file.stat().st_mtime <= until:
        for path in (file, file.with_name("metadata.yaml"), file.with_name("inspect.json")):
            path.unlink(missing_ok=True)
        yield "datasette"
    recover_folder(folder)
    if read_export(folder) and (folder / RECORD).stat().st_mtime <= until:
        shutil.rmtree(folder)
        yield "parquet"


def _remove_leftovers(settings: Settings, store: LanceStore) -> None:
    """Removes what killed processes left: exports, copies of shards, downloads, files of DuckDB."""
    remove_scratch(settings.data_dir, store, RawStore(settings.raw_dir), keep_days=0)
    with suppress(FileNotFoundError):
        for path in settings.raw_dir.iterdir():
            if path.name.startswith(".") and path.is_file():
                path.unlink(missing_ok=True)
