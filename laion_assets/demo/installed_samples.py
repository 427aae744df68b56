"""Finds the sample shards that are here, for `laion demo --remove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.demo.sample_shards import DEFAULT_SPEC, sample_shard_name
from laion_assets.raw_shards.samples import is_sample_file
from laion_assets.stores.database import Database
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    from laion_assets.settings import Settings


def list_sample_names() -> set[str]:
    """Returns the names of the shards of `laion demo`; those before the mark have only the name."""
    return {sample_shard_name(DEFAULT_SPEC, index) for index in range(DEFAULT_SPEC.shard_count)}


def find_sample_files(settings: Settings) -> list[Path]:
    """Returns the files of `laion demo` in `<data dir>/shards`; others are never among them."""
    names = list_sample_names()
    paths = sorted((settings.data_dir / "shards").glob("*.parquet"))
    return [path for path in paths if path.stem in names or is_sample_file(path)]


def find_sample_shards(settings: Settings) -> set[str]:
    """Returns the shards that may be here and are samples, by their files, their rows or names."""
    store = RawStore(settings.raw_dir)
    marked = {shard for shard in store.list_shards() if is_sample_file(store.path(shard))}
    files = {path.stem for path in find_sample_files(settings)}
    return list_sample_names() | files | marked | _list_loaded_samples(settings)


def _list_loaded_samples(settings: Settings) -> set[str]:
    if not Database.of(settings).exists():
        return set()
    with Database.of(settings).read() as connection:
        return {
            shard for (shard,) in connection.execute(load_sql("demo/select_samples")).fetchall()
        }
