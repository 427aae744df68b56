"""Finds the sample shards that are here, for `laion demo --remove`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.demo.sample_shards import DEFAULT_SPEC, sample_shard_name
from laion_assets.raw_shards.samples import is_sample_file
from laion_assets.stores.database import Database
from laion_assets.stores.object_store import ObjectStore
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


def share_samples(settings: Settings, paths: Iterable[Path]) -> Settings:
    """Copies sample shards to the bucket, where all nodes find them; returns settings for that."""
    assert settings.bucket is not None
    shared = _open_shared(settings.bucket)
    for path in paths:
        shared.upload(path, path.name)
    return replace(settings, shards=(f"{shared.uri}/*.parquet",))


def unshare_samples(settings: Settings) -> None:
    """Removes sample shards from the bucket; others stay."""
    if settings.bucket is None:
        return
    shared = _open_shared(settings.bucket)
    for name in shared.list_names(""):
        if name.removesuffix(".parquet") in list_sample_names():
            shared.remove(name)


def describe_samples(settings: Settings) -> dict[str, str]:
    """Returns the settings of the demo as variables, for runs on other machines."""
    assert settings.bucket is not None
    variables = {
        "LAION_DATA_DIR": settings.bucket,
        "LAION_SHARDS": ",".join(settings.shards),
        "LAION_EMBEDDINGS": settings.embeddings,
        "LAION_ENCODER": settings.encoder or "",
        "LAION_RAY": settings.ray or "",
    }
    return {name: value for name, value in variables.items() if value}


def find_sample_shards(settings: Settings) -> set[str]:
    """Returns the shards that may be here and are samples, by their files, their rows or names."""
    store = RawStore(settings.raw_dir)
    marked = {shard for shard in store.list_shards() if is_sample_file(store.path(shard))}
    files = {path.stem for path in find_sample_files(settings)}
    return list_sample_names() | files | marked | _list_loaded_samples(settings)


def _open_shared(bucket: str) -> ObjectStore:
    return ObjectStore(f"{bucket}/shards")


def _list_loaded_samples(settings: Settings) -> set[str]:
    if not Database.of(settings).exists():
        return set()
    with Database.of(settings).read() as connection:
        return {
            shard for (shard,) in connection.execute(load_sql("demo/select_samples")).fetchall()
        }
