"""A shard is removed from every place, and a crash at any moment leaves nothing that cannot go."""

import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import dagster as dg
import pytest

from laion_assets.cli.output import print_removal, print_status
from laion_assets.errors import LaionError
from laion_assets.operations import removal as of_partitions
from laion_assets.operations import traces as of_stores
from laion_assets.operations.removal import find_places, find_sources, remove_shards
from laion_assets.operations.status_report import read_status
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.partitions import SHARDS_NAME
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pipeline import count, ingest, load, publish, refresh

pytestmark = pytest.mark.slow

EVERYWHERE = ["DuckDB", "Lance", "raw copy", "partition"]
SHARD_TABLES = (
    "images",
    "rejected_images",
    "shards",
    "shard_figures",
    "caption_matches",
    "shard_domains",
    "shard_columns",
)
# What a removal does, line by line; what they call is a transaction or a commit.
REPEATED = RawStore.remove.__code__
STEPS = {of_partitions.remove_shards.__code__, of_stores.remove_traces.__code__, REPEATED}


def register(instance: dg.DagsterInstance, *shards: str) -> None:
    instance.add_dynamic_partitions(SHARDS_NAME, list(shards))


def list_shards_of(settings: Settings) -> dict[str, set[str]]:
    """Returns the shards that each table of DuckDB has."""
    with Database(settings.database).read() as connection:
        return {
            table: {
                shard for (shard,) in connection.execute(f"SELECT shard FROM {table}").fetchall()
            }
            for table in SHARD_TABLES
        }


def test_a_shard_goes_from_every_place_and_the_others_stay(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    for shard in ("a", "b", "c"):
        ingest(settings, shard, "some artists", "x")
    register(instance, "a", "b", "c")
    first = refresh(settings)
    assert find_places(settings, instance) == dict.fromkeys("abc", EVERYWHERE)

    remove_shards(settings, instance, ["a", "c"])

    assert find_places(settings, instance) == {"b": EVERYWHERE}
    assert set().union(*list_shards_of(settings).values()) == {"b"}
    assert sorted(path.name for path in settings.raw_dir.iterdir()) == ["b.json", "b.parquet"]
    count(settings)
    released = publish(settings).manifest
    assert released.release != first
    assert [shard.shard for shard in released.shards] == ["b"]
    with Database(settings.database).read() as connection:
        assert connection.sql("FROM domain_counts").fetchall() == [("b.test", 2)]
        query = "SELECT image_count FROM entity_counts WHERE kind = 'artists'"
        assert connection.execute(query).fetchall() == [(1,)]


@pytest.mark.exhaustive
def test_no_count_is_left_of_the_last_shard(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    ingest(settings, "a", "x")
    refresh(settings)

    remove_shards(settings, instance, ["a"])

    with Database(settings.database).read() as connection:
        for table in ("domain_counts", "site_counts", "entity_counts", "refreshes"):
            assert connection.sql(f"FROM {table}").fetchall() == []


@pytest.mark.parametrize(
    "name", [".a.part", ".a.part-origin", ".a.link", ".a.record", "a.json", "a.parquet"]
)
def test_what_a_killed_fetch_left_is_found_and_goes(
    settings: Settings, instance: dg.DagsterInstance, name: str
) -> None:
    settings.raw_dir.mkdir(parents=True)
    (settings.raw_dir / name).touch()
    (settings.raw_dir / "a.b.parquet").touch()
    assert find_places(settings, instance) == {"a": ["raw copy"], "a.b": ["raw copy"]}

    remove_shards(settings, instance, ["a"])

    assert [path.name for path in settings.raw_dir.iterdir()] == ["a.b.parquet"]


@pytest.mark.exhaustive
def test_a_shard_that_is_loaded_at_the_moment_is_not_removed(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    ingest(settings, "a", "x")
    register(instance, "a")
    run = dg.DagsterRun(
        "ingest_shards", status=dg.DagsterRunStatus.STARTED, tags={PARTITION_TAG: "a"}
    )
    instance.add_run(run)

    with pytest.raises(LaionError, match=f"shard 'a': run {run.run_id} of it has not ended"):
        remove_shards(settings, instance, ["a"])

    assert find_places(settings, instance) == {"a": EVERYWHERE}


@pytest.mark.exhaustive
def test_status_names_what_has_no_partition(
    settings: Settings, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    for shard in ("a", "b", "c"):
        ingest(settings, shard, "x")
    register(instance, "a")
    source = settings.data_dir / "shards" / "c.parquet"
    of_stores.remove_traces(
        Database(settings.database),
        LanceStore(settings.lance_dir),
        RawStore(settings.raw_dir),
        ["c"],
    )
    load(settings, "c", source)

    print_status(read_status(settings, instance))

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.endswith("no partition ")] == ["b", "c"]
    assert "b has no partition, but is still in: DuckDB, Lance, raw copy; " in "\n".join(lines)
    assert "`laion remove c` removes it" in "\n".join(lines)
    assert "a has no partition" not in "\n".join(lines)


@pytest.mark.exhaustive
def test_it_says_that_the_source_still_has_the_shard(
    settings: Settings, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    for shard in ("a", "b"):
        ingest(settings, shard, "x")
    source = settings.data_dir / "shards" / "a.parquet"

    remove_shards(settings, instance, ["a"])
    print_removal(["a"], *find_sources(settings, ["a"]))

    assert source.exists()
    printed = capsys.readouterr()
    assert printed.out == "removed a\n"
    assert f"still at the source: a ({source})" in printed.err
    assert "register again" in printed.err


def remove_until(folder: Path, moment: int) -> None:
    """Removes `a` and `b`, until this process is killed before the line of that number."""
    settings = Settings.default(folder / "data")
    seen: list[tuple[CodeType, int]] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code not in STEPS:
            return None
        step = frame.f_code, frame.f_lineno
        # The raw files of the second shard go as those of the first one.
        if event == "line" and not (step in seen and frame.f_code is REPEATED):
            if len(seen) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append(step)
        return trace

    with dg.DagsterInstance.local_temp(str(folder / "history")) as instance:
        sys.settrace(trace)
        remove_shards(settings, instance, ["a", "b"], [folder / "data" / "shards" / "a.parquet"])


@pytest.mark.exhaustive
def test_a_removal_that_is_killed_before_any_step_is_finished_by_the_next(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    settings = Settings.default(whole / "data")
    for shard in ("a", "b", "c"):
        ingest(settings, shard, "x", "y")
    (whole / "history").mkdir()
    with dg.DagsterInstance.local_temp(str(whole / "history")) as instance:
        register(instance, "a", "b", "c")
    context = multiprocessing.get_context("forkserver")
    states = set()
    for moment in range(1000):
        folder = tmp_path / "killed"
        shutil.copytree(whole, folder)
        process = context.Process(target=remove_until, args=(folder, moment))
        process.start()
        process.join()
        settings = Settings.default(folder / "data")
        with dg.DagsterInstance.local_temp(str(folder / "history")) as instance:
            left = find_places(settings, instance)
            states.add(repr(left))
            assert left.pop("c") == EVERYWHERE
            if process.exitcode == 0:
                assert left == {}
                break
            assert process.exitcode == -signal.SIGKILL
            # While any of it is gone nothing can load it again.
            assert all(p == EVERYWHERE or "partition" not in p for p in left.values())
            file = settings.data_dir / "shards" / "a.parquet"
            # A shard is named, and so can be removed, for as long as a file of it is there.
            assert left or not file.exists()
            remove_shards(settings, instance, ["a", "b"], [file])
            assert not file.exists()
            assert find_places(settings, instance) == {"c": EVERYWHERE}
        assert set().union(*list_shards_of(settings).values()) == {"c"}
        shutil.rmtree(folder)
    # Partitions one by one, DuckDB, Lance, raw files one by one.
    assert len(states) >= 7
