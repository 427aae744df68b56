"""The product's own statements and calls in the order of the assets, without Dagster.

Run `python -m benchmarks.bare DATA_DIR FILE… [--refresh]`, as `benchmarks.compare` does.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from laion_assets.counts.refresh import (
    refresh_domain_counts,
    refresh_entity_counts,
    refresh_site_counts,
)
from laion_assets.images.load import load_shard
from laion_assets.lance_images.copy import copy_shard
from laion_assets.names.sheets import refresh_sheet
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.releases.publish import ReleaseOrder, publish_release
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.freed_memory import return_large_blocks
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--refresh", action="store_true")
    options = parser.parse_args()
    return_large_blocks()
    settings = Settings.default(options.data_dir)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    for file in options.files:
        ingest(settings, file)
    if options.refresh:
        refresh(settings)


def ingest(settings: Settings, file: Path, shard: str | None = None) -> None:
    """Brings a shard from its file to Lance, under the file's name or another."""
    copy_shard(
        Database(settings.database),
        LanceStore(settings.lance_dir),
        load(settings, file, shard),
        "none",
    )


def load(settings: Settings, file: Path, shard: str | None = None) -> str:
    """Brings a shard from its file to DuckDB; returns its name."""
    source = describe_file(file)
    raw = fetch_shard(replace(source, shard=shard or source.shard), RawStore(settings.raw_dir))
    with Database(settings.database).write() as connection:
        load_shard(connection, raw, RawStore(settings.raw_dir).path(raw.shard), "none")
    return raw.shard


def refresh(settings: Settings) -> None:
    """Reads the sheets, counts domains and names, and releases."""
    database = Database(settings.database)
    kinds = tuple(settings.sheets)
    for kind, location in settings.sheets.items():
        refresh_sheet(database, kind, location)
    refresh_domain_counts(database)
    refresh_site_counts(database)
    refresh_entity_counts(database, kinds)
    publish_release(database, LanceStore(settings.lance_dir), kinds, ReleaseOrder(run_id="none"))


if __name__ == "__main__":
    main()
