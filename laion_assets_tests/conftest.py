"""Fixtures that every test may use: settings in a temporary folder, small parquet files."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.lib.database import Database
from laion_assets.settings import Settings


class WriteShard(Protocol):
    """Writes a shard's parquet file into the source folder and returns its path."""

    def __call__(self, shard: str, **columns: Sequence[object] | pa.Array) -> Path: ...


class WriteSheet(Protocol):
    """Writes the CSV file of a kind of names and returns its path."""

    def __call__(self, kind: str, *names: str) -> Path: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with three empty-handed kinds, each with a sheet of one name."""
    sheets = {}
    for kind in ("artists", "celebrities", "characters"):
        path = tmp_path / f"{kind}.csv"
        path.write_text(f"name\nSome {kind}\n", encoding="utf-8")
        sheets[kind] = str(path)
    return replace(Settings.default(tmp_path / "data"), sheets=MappingProxyType(sheets))


@pytest.fixture
def database(settings: Settings) -> Database:
    """The DuckDB file of the settings, with short waits."""
    return Database(settings.database, queue_wait_s=20, stranger_wait_s=20)


@pytest.fixture
def write_shard(settings: Settings) -> WriteShard:
    """Writes small shards where the settings look for them."""

    def write(shard: str, **columns: Sequence[object] | pa.Array) -> Path:
        path = settings.data_dir / "shards" / f"{shard}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(dict(columns)), path)
        return path

    return write


@pytest.fixture
def write_sheet(settings: Settings) -> WriteSheet:
    """Replaces the names of a kind."""

    def write(kind: str, *names: str) -> Path:
        path = Path(settings.sheets[kind])
        quoted = ('"' + name.replace('"', '""') + '"' for name in ("name", *names))
        path.write_text("\n".join(quoted) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of its own, in memory; the command line's tests have one on disk."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
