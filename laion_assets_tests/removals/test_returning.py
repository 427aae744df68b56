"""Rows whose entry is taken off the list come back from their source, if it is still there."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from laion_assets.definitions import build_defs
from laion_assets.operations.status_report import read_status
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.runs.backfill import discover_shards, run_job
from laion_assets.runs.due import Stage
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pipeline import ingest, read_removals, refresh
from laion_assets_tests.removals.test_apply_list import (
    list_due,
    load_again,
    read_captions,
    read_rejected,
)

pytestmark = [pytest.mark.usefixtures("unchecked"), pytest.mark.slow]


URLS = ("https://a.test/1.jpg", "https://a.test/2.jpg")


@pytest.fixture
def removed(settings: Settings) -> Settings:
    """Two of three rows of the shard `a` are removed from all tables and from the raw file."""
    ingest(settings, "a", "a fox", "a hen", "an owl")
    read_removals(settings, *URLS)
    load_again(settings, "a")
    refresh(settings)
    return settings


def test_an_entry_off_the_list_brings_its_row_back_and_no_other(removed: Settings) -> None:
    applied = read_removals(removed, URLS[1])

    assert applied.audit.returning == (("a", 1),)
    assert applied.audit.row_count == 1
    assert LanceStore(removed.lance_dir).removals.read().audits[0].returning == (("a", 1),)
    assert {shard: step.stage for shard, step in list_due(removed).steps.items()} == {
        "a": Stage.FETCH
    }
    load_again(removed, "a")
    assert read_captions(removed) == ["a fox", "a hen"]
    assert read_rejected(removed) == [("a", 2, None, None, "removed")]
    assert RawStore(removed.raw_dir).read("a").list_removed() == [2]
    refresh(removed)
    assert list_due(removed).steps == {}
    assert read_removals(removed, URLS[1]).audit.returning == ()


@pytest.mark.exhaustive
def test_what_was_fetched_anew_has_to_be_loaded(removed: Settings) -> None:
    read_removals(removed, URLS[1])
    source = removed.data_dir / "shards" / "a.parquet"
    fetch_shard(describe_file(source), RawStore(removed.raw_dir))

    assert list_due(removed).steps["a"].stage is Stage.LOAD


@pytest.mark.exhaustive
def test_an_entry_that_is_back_on_the_list_changes_nothing(removed: Settings) -> None:
    read_removals(removed, URLS[1])
    assert read_removals(removed, *URLS).audit.returning == ()
    assert list_due(removed).steps == {}


@pytest.mark.exhaustive
def test_the_same_rows_by_another_entry_stay_removed(removed: Settings) -> None:
    read_removals(removed, "*.a.test")
    load_again(removed, "a")
    assert read_captions(removed) == []
    assert read_removals(removed, "*.a.test").audit.returning == ()


@pytest.mark.exhaustive
def test_status_says_what_brings_rows_back_and_where_nothing_does(removed: Settings) -> None:
    assert read_status(removed, None).delays == ()
    read_removals(removed, URLS[1])
    (line,) = read_status(removed, None).delays
    assert line.startswith("a: rows of it came off the list")
    assert line.endswith("`laion backfill --missing` brings them back")

    (removed.data_dir / "shards" / "a.parquet").unlink()
    (line,) = read_status(removed, None).delays
    assert "only the file of its source brings them back" in line


@pytest.mark.exhaustive
def test_the_files_beside_the_shard_come_back_whole(settings: Settings) -> None:
    ingest(settings, "a", "a fox", "a hen")
    vectors = settings.data_dir / "shards" / "a.npy"
    np.save(vectors, np.ones((2, 3), np.float16))
    read_removals(settings, URLS[0])
    load_again(settings, "a")
    kept = RawStore(settings.raw_dir).vectors_path("a")
    assert np.load(kept).tolist() == [[1, 1, 1], [0, 0, 0]]

    read_removals(settings, "nobody.test")
    load_again(settings, "a")
    assert kept.read_bytes() == vectors.read_bytes()


@pytest.mark.exhaustive
def test_the_sensor_loads_a_shard_whose_content_is_known(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard, tmp_path: Path
) -> None:
    path = tmp_path / "removals.txt"
    settings = replace(settings, removals=str(path))
    path.write_text("b.test\nnobody.test\n")
    urls = [f"https://{host}.test/1.jpg" for host in "abc"]
    write_shard("s", url=urls, caption=["a fox", "a hen", "an owl"])
    discover_shards(settings, instance)
    defs = build_defs(settings)
    ingest_job = defs.resolve_job_def("ingest_shards")
    # As the sensor asks for it.
    config = {"ops": {"raw_shards": {"config": {"only_if_changed": True}}}}
    # It reads the list; there is nothing to release yet.
    assert run_job(defs.resolve_job_def("refresh_counts"), instance).metadata["removals"]
    told = run_job(ingest_job, instance, "s", config).metadata
    assert told["images"]["dagster/partition_row_count"] == 2
    assert "images" not in run_job(ingest_job, instance, "s", config).metadata

    path.write_text("nobody.test\n")
    told = run_job(defs.resolve_job_def("refresh_counts"), instance).metadata
    assert told["removals"]["rows_returning"] == 1
    told = run_job(ingest_job, instance, "s", config).metadata
    assert told["images"]["dagster/partition_row_count"] == 3
    told = run_job(defs.resolve_job_def("refresh_counts"), instance).metadata
    assert (told["removals"]["rows_returning"], told["release"]["rows_removed"]) == (0, 0)
