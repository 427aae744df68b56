"""A process that is killed at any moment leaves each shard whole: as it was, or as it was to be."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import lance
import pytest

from laion_assets.lib.database import Database
from laion_assets.lib.images import load_shard
from laion_assets.lib.lance_images import copy_shard
from laion_assets.lib.raw_shard import fetch_shard, raw_path
from laion_assets.lib.sources.files import describe_file
from laion_assets.settings import Settings
from laion_assets_tests.conftest import WriteShard

MOMENTS = 20
ROWS = 3000


def load(settings: Settings, shard: str, source: Path) -> None:
    raw = fetch_shard(replace(describe_file(source), shard=shard), settings.raw_dir)
    with Database(settings.database).write() as connection:
        load_shard(connection, raw, raw_path(settings.raw_dir, shard), "run")


def copy(settings: Settings, shard: str) -> None:
    copy_shard(Database(settings.database), settings.lance_dir, shard, "run")


def load_forever(settings_folder: Path, sources: list[Path], ready: Connection) -> None:
    """Replaces shard `a` by one content and the other, until it is killed."""
    settings = Settings.default(settings_folder)
    ready.send("ready")
    while True:
        for source in sources:
            load(settings, "a", source)


def copy_forever(settings_folder: Path, sources: list[Path], ready: Connection) -> None:
    """The same, and copies each to Lance."""
    settings = Settings.default(settings_folder)
    load(settings, "a", sources[0])
    ready.send("ready")
    while True:
        for source in sources:
            copy(settings, "a")
            load(settings, "a", source)


def kill_in_the_middle(
    work: Callable[[Path, list[Path], Connection], None],
    folder: Path,
    sources: list[Path],
    delay_s: float,
) -> None:
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(folder, sources, there))
    process.start()
    assert here.recv() == "ready"
    time.sleep(delay_s)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    here.close()
    there.close()


@pytest.fixture
def sources(write_shard: WriteShard) -> list[Path]:
    """Two contents of one shard, told apart by their captions and their number of rows."""
    multiprocessing.set_forkserver_preload([__name__])
    return [
        write_shard(
            name,
            url=[f"https://a.test/{name}/{n}.jpg" for n in range(rows)],
            caption=[name] * rows,
        )
        for name, rows in (("old", ROWS), ("new", ROWS + 500))
    ]


def captions_in_duckdb(settings: Settings) -> list[tuple[object, ...]]:
    with Database(settings.database).read() as connection:
        query = (
            "SELECT shard, caption, count(*), max(row_index) FROM images GROUP BY ALL ORDER BY ALL"
        )
        return connection.execute(query).fetchall()


def captions_in_lance(settings: Settings) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        images = lance.dataset(settings.lance_dir / "images.lance").to_table()
        connection.register("images", images)
        query = (
            "SELECT shard, caption, count(*), max(row_index) FROM images GROUP BY ALL ORDER BY ALL"
        )
        return connection.execute(query).fetchall()


OLD = ("a", "old", ROWS, ROWS - 1)
NEW = ("a", "new", ROWS + 500, ROWS + 499)
OTHER = ("b", "old", ROWS, ROWS - 1)


def moments(longest_s: float) -> list[float]:
    return [random.Random(n).uniform(0, longest_s) for n in range(MOMENTS)]  # noqa: S311


def test_duckdb_has_the_old_or_the_new_rows_whenever_the_process_dies(
    settings: Settings, sources: list[Path]
) -> None:
    load(settings, "a", sources[0])
    load(settings, "b", sources[0])
    for delay_s in moments(0.4):
        kill_in_the_middle(load_forever, settings.data_dir, sources, delay_s)
        shard, other = captions_in_duckdb(settings)
        assert shard in (OLD, NEW)
        assert other == OTHER
    load(settings, "a", sources[1])
    assert captions_in_duckdb(settings) == [NEW, OTHER]


def test_lance_has_the_old_or_the_new_rows_whenever_the_process_dies(
    settings: Settings, sources: list[Path]
) -> None:
    for shard in "ab":
        load(settings, shard, sources[0])
        copy(settings, shard)
    for delay_s in moments(0.6):
        kill_in_the_middle(copy_forever, settings.data_dir, sources, delay_s)
        shard_rows, other = captions_in_lance(settings)
        assert shard_rows in (OLD, NEW)
        assert other == OTHER
    load(settings, "a", sources[1])
    copy(settings, "a")
    assert captions_in_lance(settings) == [NEW, OTHER] == captions_in_duckdb(settings)
