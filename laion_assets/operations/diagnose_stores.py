"""What `laion doctor` finds in the stores: DuckDB against Lance, raw files, releases."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from laion_assets.amounts import say_amount
from laion_assets.operations.finding import Finding
from laion_assets.operations.restore import WHOLE
from laion_assets.schemas import SCHEMA_VERSION
from laion_assets.stores.database import Database
from laion_assets.stores.lance_files import list_files
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.releases.manifest import Manifest
    from laion_assets.settings import Settings

# A load holds the file for seconds; who waits longer is told by whom it is held.
QUEUE_WAIT_S, STRANGER_WAIT_S = 120, 10


def open_database(settings: Settings) -> Database:
    """Returns the database, for somebody who does not want to wait long."""
    return Database.at(settings.database, settings.warehouse_bucket, QUEUE_WAIT_S, STRANGER_WAIT_S)


def look_at_stores(settings: Settings, instance: dg.DagsterInstance | None) -> Iterator[Finding]:
    """Compares the shards in DuckDB with those in Lance and with the partitions."""
    from laion_assets.lance_images.copy import compare_shards
    from laion_assets.partitions import SHARDS_NAME

    store = LanceStore.of(settings)
    if (settings.data_dir / WHOLE).is_dir():
        yield Finding.wrong(
            "stores",
            f"{settings.data_dir}: a restore was cut off while it moved files; run the same "
            "`laion restore` again",
        )
        return
    if not Database.of(settings).exists():
        is_lost = store.find("images") is not None
        text = f"{settings.database}: no database yet; `laion backfill` makes it"
        if is_lost:
            text = (
                f"{settings.database}: is gone, though Lance has images; restore a backup "
                "(`laion restore`), or run `laion backfill --all`"
            )
        yield Finding(part="stores", is_sound=not is_lost, text=text)
        return
    # Lance first: what DuckDB notes of it later is there, too.
    with open_database(settings).read_as_it_is() as (connection, version):
        if version != SCHEMA_VERSION:
            yield Finding.wrong("stores", _describe_schema(version))
            return
        compared = compare_shards(connection, store.find("images"))
    running = _list_running(instance)
    known = set(instance.get_dynamic_partitions(SHARDS_NAME)) if instance else None
    differing = [each.shard for each in compared if not each.is_equal and each.shard not in running]
    for shard in differing:
        yield Finding.wrong(
            "stores",
            f"shard {shard!r}: Lance does not have it as DuckDB has it; "
            f"run `laion backfill {shlex.quote(shard)}`",
        )
    orphans = [each.shard for each in compared if known is not None and each.shard not in known]
    for shard in orphans:
        yield Finding.wrong(
            "stores",
            f"shard {shard!r}: has rows but no partition; "
            f"`laion remove {shlex.quote(shard)}` removes it",
        )
    if not differing and not orphans:
        rows = sum(each.duckdb_rows for each in compared)
        underway = f", {len(running)} under way" if running else ""
        figures = f"{say_amount(len(compared), 'shard')}, {say_amount(rows, 'image')}{underway}"
        yield Finding.sound("stores", f"{figures}: Lance equals DuckDB")


def look_at_raw_files(settings: Settings, *, is_hashing: bool) -> Iterator[Finding]:
    """Compares the raw files with their records, and these with what was loaded."""
    raws = RawStore(settings.raw_dir)
    loaded = _read_loaded_files(settings)
    shards = sorted(raws.list_shards() | loaded.keys())
    wrong = 0
    for shard in shards:
        if settings.bucket and not raws.path(shard).exists():
            # Another machine has loaded it.
            continue
        if (text := _find_fault(raws, shard, loaded, is_hashing=is_hashing)) is not None:
            wrong += 1
            yield Finding.wrong("raw files", text)
    if not wrong:
        how = "content and record agree" if is_hashing else "size and time agree with the record"
        text = f"{say_amount(len(shards), 'file')}: {how}"
        yield Finding.sound("raw files", text)


def look_at_releases(settings: Settings) -> Iterator[Finding]:
    """Finds releases of which a table is not whole."""
    from laion_assets.releases.catalog import list_damaged, list_releases

    store = LanceStore.of(settings)
    manifests = list(list_releases(store))
    wrong = [text for manifest in manifests if (text := _find_gap(store, manifest)) is not None]
    wrong += [
        f"release {tag}: a table of it is gone, so it cannot be used; restore a backup "
        f"(`laion restore`), or delete it (`laion release delete {tag}`)"
        for tag in list_damaged(store)
    ]
    yield from (Finding.wrong("releases", text) for text in wrong)
    if not wrong:
        newest = f", the newest is {manifests[0].release}" if manifests else ""
        text = f"{say_amount(len(manifests), 'release')}{newest}"
        yield Finding.sound("releases", text)


def _describe_schema(version: int) -> str:
    if version > SCHEMA_VERSION:
        return (
            f"the database has schema {version}, and this version knows {SCHEMA_VERSION}; upgrade "
            "laion-assets"
        )
    return (
        f"the database has schema {version}, and this version {SCHEMA_VERSION}; make a backup, "
        "then run `laion upgrade`"
    )


def _list_running(instance: dg.DagsterInstance | None) -> set[str]:
    from laion_assets.orchestration.dead_runs import list_unfinished
    from laion_assets.orchestration.overtaken import PARTITION_TAG

    runs = list_unfinished(instance) if instance else []
    return {run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags}


def _read_loaded_files(settings: Settings) -> dict[str, str]:
    """Returns the SHA-256 of the file that each shard in DuckDB was loaded from."""
    from laion_assets.stores.sql import load_sql

    if not Database.of(settings).exists():
        return {}
    with open_database(settings).read_as_it_is() as (connection, version):
        if version != SCHEMA_VERSION:
            return {}
        rows = connection.execute(load_sql("operations/select_loaded_files")).fetchall()
    return dict(rows)


def _find_fault(
    raws: RawStore, shard: str, loaded: dict[str, str], *, is_hashing: bool
) -> str | None:
    """Returns what is wrong with the raw file of a shard; None if nothing is."""
    path = raws.path(shard)
    again = f"run `laion backfill {shlex.quote(shard)}`"
    if shard not in loaded and not path.exists():
        # A part of a download, which goes on, or is removed after some days.
        return None
    if not path.exists():
        return f"{path}: is gone, though the shard is loaded; {again}"
    if not raws.is_as_recorded(shard, is_hashing=is_hashing):
        return f"{path}: is not the file of its record, or has none; {again}"
    record = raws.find(shard)
    if record is not None and loaded.get(shard, record.sha256) != record.sha256:
        return f"{path}: is newer than what is loaded; {again}"
    return None


def _find_gap(store: LanceStore, manifest: Manifest) -> str | None:
    from laion_assets.releases.catalog import open_released

    for table, count in manifest.row_counts.items():
        try:
            dataset = open_released(store, manifest, table)
            names = list_files(dataset, [dataset.version])
            is_whole = dataset.count_rows() == count and store.has_files(table, names)
        except Exception:  # noqa: BLE001 - Lance has several for what it cannot read
            is_whole = False
        if not is_whole:
            return (
                f"release {manifest.release}: its table {table} is not whole; restore a backup "
                f"(`laion restore`), or run `laion release delete {manifest.release}`"
            )
    return None
