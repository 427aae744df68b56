"""The steps of the pipeline without Dagster, for tests that take many of them."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from laion_assets.counts.refresh import (
    refresh_domain_counts,
    refresh_entity_counts,
    refresh_site_counts,
)
from laion_assets.images.load import load_shard
from laion_assets.images.removed_rows import take_out_removed
from laion_assets.lance_images.copy import copy_shard
from laion_assets.names.sheets import refresh_sheet
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.releases.publish import Publication, ReleaseOrder, publish_release
from laion_assets.removals.apply_list import Applied, apply_list
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore


def load(settings: Settings, shard: str, source: Path) -> None:
    """Brings a shard to DuckDB."""
    store = RawStore(settings.raw_dir)
    raw = fetch_shard(replace(describe_file(source), shard=shard), store)
    raw = take_out_removed(store, raw, LanceStore.of(settings).removals.read())
    with Database.of(settings).write() as connection:
        load_shard(connection, raw, store.path(shard), "run")


def read_removals(settings: Settings, *entries: str) -> Applied:
    """Writes a list of removals with these entries, and reads it."""
    path = settings.data_dir.parent / "removals.csv"
    lines = ["what", *(f'"{entry}"' for entry in entries)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    stores = LanceStore.of(settings), RawStore(settings.raw_dir)
    return apply_list(Database.of(settings), *stores, str(path))


def copy(settings: Settings, shard: str) -> None:
    """Brings a shard from DuckDB to Lance."""
    copy_shard(Database.of(settings), LanceStore.of(settings), shard, "run")


def bring(settings: Settings, shard: str, rows: pa.Table) -> None:
    """Writes a shard of these rows, and brings it to Lance."""
    source = settings.data_dir / "shards" / f"{shard}.parquet"
    source.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, source)
    load(settings, shard, source)
    copy(settings, shard)


def ingest(settings: Settings, shard: str, *captions: str) -> None:
    """Brings a shard with these captions to Lance; its domain is its name with `.test`."""
    urls = [f"https://{shard}.test/{row}.jpg" for row in range(len(captions))]
    numbers = pa.array(range(len(captions)))
    columns = {
        "url": urls,
        "caption": captions,
        "width": numbers,
        "punsafe": pa.array([0.5] * len(urls)),
    }
    bring(settings, shard, pa.table(columns))


def count(settings: Settings) -> None:
    """Reads the sheets, and counts domains and names."""
    database = Database.of(settings)
    for kind, location in settings.sheets.items():
        refresh_sheet(database, kind, location)
    refresh_domain_counts(database)
    refresh_site_counts(database)
    refresh_entity_counts(database, tuple(settings.sheets))


def publish(settings: Settings, name: str | None = None, keep_days: float = 7) -> Publication:
    """Releases what is counted."""
    order = ReleaseOrder("run", name, keep_days)
    return publish_release(
        Database.of(settings), LanceStore.of(settings), tuple(settings.sheets), order
    )


def refresh(settings: Settings, name: str | None = None) -> str:
    """Counts and releases; returns the tag."""
    count(settings)
    return publish(settings, name).manifest.release
