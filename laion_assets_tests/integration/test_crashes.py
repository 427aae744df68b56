"""A process that is killed at any moment leaves each shard whole: as it was, or as it was to be."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import lance
import pytest

from laion_assets.releases.catalog import list_releases, open_released
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pipeline import copy, count, ingest, load, publish

ROWS = 3000
# Few show it in each run of the tests; `make test-exhaustive` looks for a moment that is worse.
in_many_moments = pytest.mark.parametrize(
    "moment_count", [4, pytest.param(20, marks=pytest.mark.exhaustive)]
)


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


def release_once(settings_folder: Path, sources: list[Path], ready: Connection) -> None:
    """Brings shard `a` to the first content, and then releases it, unless it is killed."""
    settings = Settings.default(settings_folder)
    load(settings, "a", sources[0])
    copy(settings, "a")
    count(settings)
    ready.send("ready")
    publish(settings, keep_days=0)
    ready.send("done")
    time.sleep(60)


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


def moments(count: int, longest_s: float) -> list[float]:
    """Returns delays from each part of the time."""
    rng = random.Random(count)  # noqa: S311
    return [longest_s * (n + rng.random()) / count for n in range(count)]


@pytest.mark.exhaustive
@in_many_moments
def test_duckdb_has_the_old_or_the_new_rows_whenever_the_process_dies(
    settings: Settings, sources: list[Path], moment_count: int
) -> None:
    load(settings, "a", sources[0])
    load(settings, "b", sources[0])
    for delay_s in moments(moment_count, 0.4):
        kill_in_the_middle(load_forever, settings.data_dir, sources, delay_s)
        shard, other = captions_in_duckdb(settings)
        assert shard in (OLD, NEW)
        assert other == OTHER
    load(settings, "a", sources[1])
    assert captions_in_duckdb(settings) == [NEW, OTHER]


@pytest.mark.exhaustive
@in_many_moments
def test_lance_has_the_old_or_the_new_rows_whenever_the_process_dies(
    settings: Settings, sources: list[Path], moment_count: int
) -> None:
    for shard in "ab":
        load(settings, shard, sources[0])
        copy(settings, shard)
    for delay_s in moments(moment_count, 0.6):
        kill_in_the_middle(copy_forever, settings.data_dir, sources, delay_s)
        shard_rows, other = captions_in_lance(settings)
        assert shard_rows in (OLD, NEW)
        assert other == OTHER
    load(settings, "a", sources[1])
    copy(settings, "a")
    assert captions_in_lance(settings) == [NEW, OTHER] == captions_in_duckdb(settings)


def check_releases(settings: Settings) -> int:
    """Every release has all its parts, and they tell of the same rows; returns how many."""
    manifests = list(list_releases(LanceStore(settings.lance_dir)))
    for manifest in manifests:
        images, domains, sites, names = (
            open_released(LanceStore(settings.lance_dir), manifest, table)
            for table in ("images", "domain_counts", "site_counts", "entity_counts")
        )
        for counts in (domains, sites):
            assert sum(counts.to_table()["image_count"].to_pylist()) == images.count_rows()
        assert names.count_rows() == manifest.row_counts["entity_counts"]
        assert images.count_rows() == sum(s.image_count for s in manifest.shards)
        assert all(
            index.num_rows_indexed == images.count_rows() for index in images.describe_indices()
        )
    return len(manifests)


@in_many_moments
def test_a_release_is_whole_or_not_there_whenever_the_process_dies(
    settings: Settings, sources: list[Path], moment_count: int
) -> None:
    ingest(settings, "b", "b")
    for source in sources:
        load(settings, "a", source)
        copy(settings, "a")
        count(settings)
        started = time.monotonic()
        publish(settings)
        duration_s = time.monotonic() - started
    for number, delay_s in enumerate(moments(moment_count, 1.5 * duration_s)):
        contents = sources if number % 2 == 0 else sources[::-1]
        kill_in_the_middle(release_once, settings.data_dir, contents, delay_s)
        check_releases(settings)
    ingest(settings, "b", "c")
    count(settings)
    last = publish(settings).manifest
    assert check_releases(settings) > 2
    assert next(list_releases(LanceStore(settings.lance_dir))) == last
    tags = [
        set(lance.dataset(settings.lance_dir / f"{table}.lance").tags.list())
        for table in ("images", "domain_counts", "site_counts", "entity_counts")
    ]
    assert tags[0] == tags[1] == tags[2]
