"""A run on another machine than the one that fetched the shard's file."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from laion_assets.definitions import build_defs
from laion_assets.runs.backfill import Outcome, discover_shards, run_job
from laion_assets.settings import Settings
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.pictures.painting import paint

pytestmark = pytest.mark.slow
IN_A_BUCKET = pytest.mark.parametrize("settings", ["bucket"], indirect=True)


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """Another machine, with a folder of its own and the same tables and sources."""
    return replace(settings, data_dir=tmp_path / "elsewhere")


@pytest.fixture(autouse=True)
def source(settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard) -> Path:
    """A shard with pictures and vectors."""
    path = write_shard(
        "a",
        url=["https://a.test/1.jpg", "https://a.test/2.jpg"],
        caption=["a fox", "a hen"],
        jpg=pa.array([paint(1), paint(2)], pa.binary()),
        img_emb=pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32())),
    )
    discover_shards(settings, instance)
    return path


def run(settings: Settings, instance: dg.DagsterInstance, job: str, *assets: str) -> Outcome:
    found = build_defs(settings).resolve_job_def(job)
    if assets:
        found = found.get_subset(asset_selection={dg.AssetKey(asset) for asset in assets})
    return run_job(found, instance, "a")


@IN_A_BUCKET
def test_it_fetches_the_file_itself(
    settings: Settings, elsewhere: Settings, instance: dg.DagsterInstance
) -> None:
    loaded = run(settings, instance, "ingest_shards", "raw_shards", "images", "lance_images")
    assert loaded.reason is None

    vectors = run(elsewhere, instance, "ingest_shards", "embeddings")
    pictures = run(elsewhere, instance, "add_pictures")

    assert (vectors.reason, pictures.reason) == (None, None)
    assert vectors.metadata["embeddings"]["vectors"] == 2
    assert pictures.metadata["pictures"]["pictures"] == 2
    raws = [RawStore(each.raw_dir).find("a") for each in (settings, elsewhere)]
    assert raws[0] is not None
    assert raws[1] is not None
    assert raws[0].sha256 == raws[1].sha256

    again = run(replace(elsewhere, data_dir=elsewhere.data_dir / "new"), instance, "ingest_shards")
    assert again.reason is None


@IN_A_BUCKET
def test_a_source_that_has_another_file_meanwhile_is_refused(
    settings: Settings, elsewhere: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    loaded = run(settings, instance, "ingest_shards", "raw_shards", "images", "lance_images")
    assert loaded.reason is None
    write_shard("a", url=["https://a.test/1.jpg"], caption=["a lemur"])

    pictures = run(elsewhere, instance, "add_pictures")

    assert "DuckDB does not have its newest file" in str(pictures.reason)


def test_where_one_machine_has_all_nothing_is_fetched(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    loaded = run(settings, instance, "ingest_shards", "images")

    assert "not fetched yet" in str(loaded.reason)
