"""What the job `clean_history` removes, and what it leaves."""

import os
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import pytest

from laion_assets.definitions import build_defs
from laion_assets.operations.status_report import read_status
from laion_assets.partitions import SHARDS_NAME
from laion_assets.runs.backfill import run_job
from laion_assets.runs.instance import open_instance
from laion_assets.runs.run_failures import find_failure
from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.picture_cache import FetchedPicture, PictureCache
from laion_assets_tests.conftest import WriteShard

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]

SHARD_ASSETS = ("raw_shards", "images", "lance_images")
COUNTS = ("domain_counts", "site_counts", "entity_counts", "release")


@pytest.fixture
def history(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The project's own instance, on disk."""
    monkeypatch.setenv("DAGSTER_HOME", str(REPOSITORY))
    monkeypatch.setenv("LAION_DATA_DIR", str(settings.data_dir))
    monkeypatch.delenv("LAION_HISTORY_DIR", raising=False)
    with open_instance() as instance:
        yield instance


def list_shown(instance: dg.DagsterInstance) -> dict[str, object]:
    """What the pages of the assets show as the last of everything."""
    events = {
        asset: instance.get_latest_materialization_event(dg.AssetKey(asset))
        for asset in (*SHARD_ASSETS, *COUNTS)
    }
    partitions = {
        asset: instance.get_materialized_partitions(dg.AssetKey(asset)) for asset in SHARD_ASSETS
    }
    records = {
        (asset, shard): instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[shard]), limit=1
        ).records
        for asset in SHARD_ASSETS
        for shard in ("a", "b", "c")
    }
    logs = {
        event.run_id: len(instance.all_logs(event.run_id)) for event in events.values() if event
    }
    return {"events": events, "partitions": partitions, "records": records, "logs": logs}


@pytest.mark.exhaustive
def test_old_runs_go_with_their_files_and_what_is_shown_stays(
    settings: Settings, history: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    defs = build_defs(settings)
    ingest, refresh = (
        defs.resolve_job_def("ingest_shards"),
        defs.resolve_job_def("refresh_counts"),
    )
    clean = defs.resolve_job_def("clean_history")
    history.add_dynamic_partitions(SHARDS_NAME, ["a", "b", "c"])
    write_shard("a", url=["https://a.test/1"], caption=["a"])
    write_shard("b", url=["https://b.test/1"], caption=["b"])
    write_shard("c", url=["https://c.test/1"], caption=["c"]).write_bytes(b"<html>")
    for shard in ("a", "b", "a", "c", "c"):
        run_job(ingest, history, shard)
    for _ in range(2):
        run_job(refresh, history)
    for run in history.get_runs():
        logs = settings.history_dir / "compute_logs" / run.run_id / "step"
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "1.err").write_text("said", encoding="utf-8")
    before = list_shown(history)
    status = read_status(settings, history)
    failure = find_failure(history, "ingest_shards", "c")

    def clean_up(keep_days: float) -> list[str]:
        config = {"ops": {"remove_old_runs": {"config": {"keep_days": keep_days}}}}
        assert clean.execute_in_process(instance=history, run_config=config).success
        runs = reversed(history.get_runs())
        return [
            run.tags.get("dagster/partition", run.job_name)
            for run in runs
            if run.job_name != "clean_history"
        ]

    everything = [*"abacc", *["refresh_counts"] * 2]
    assert clean_up(1) == everything
    assert clean_up(0) == ["b", "a", "c", "refresh_counts"]

    assert list_shown(history) == before
    after = read_status(settings, history)
    assert after.model_copy(update={"free_bytes": status.free_bytes}) == status
    assert {shard.shard: shard.state for shard in after.shards}["c"] == "failed"
    assert failure
    assert find_failure(history, "ingest_shards", "c") == failure
    kept = {run.run_id for run in history.get_runs()}
    files = {path.stem for path in (settings.history_dir / "history" / "runs").glob("*-*.db")}
    assert files <= kept
    printed = {path.name for path in (settings.history_dir / "compute_logs").iterdir()}
    assert printed <= kept
    # What went is not needed: all goes on as before.
    assert run_job(ingest, history, "a").reason is None
    assert run_job(refresh, history).reason is None


def test_a_run_that_an_asset_shows_stays_though_its_job_ran_again(
    settings: Settings, history: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    """Later runs of a part of the job leave the rest of the first one the last there is."""
    defs = build_defs(settings)
    ingest, clean = defs.resolve_job_def("ingest_shards"), defs.resolve_job_def("clean_history")
    history.add_dynamic_partitions(SHARDS_NAME, ["a"])
    write_shard("a", url=["https://a.test/1"], caption=["a"])
    first, second, third = (
        ingest.execute_in_process(
            instance=history, partition_key="a", asset_selection=selection
        ).run_id
        for selection in (None, [dg.AssetKey("lance_images")], [dg.AssetKey("lance_images")])
    )
    config = {"ops": {"remove_old_runs": {"config": {"keep_days": 0.0}}}}

    clean.execute_in_process(instance=history, run_config=config)

    kept = {run.run_id for run in history.get_runs() if run.job_name == "ingest_shards"}
    assert kept == {first, third}
    assert second not in kept


@pytest.mark.exhaustive
def test_the_settings_say_how_long_and_how_much_is_kept(
    settings: Settings, history: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("a", url=["https://a.test/1"], caption=["a"])
    history.add_dynamic_partitions(SHARDS_NAME, ["a"])
    ingest = build_defs(settings).resolve_job_def("ingest_shards")
    for _ in range(2):
        run_job(ingest, history, "a")
    cache = PictureCache(settings.picture_cache_dir, "small")
    cache.put([FetchedPicture("https://a.test/1", "success", picture=b"jpeg")])
    part = settings.raw_dir / ".gone.part"
    part.write_bytes(b"half")
    day_ago = part.stat().st_mtime - 86_400
    os.utime(part, (day_ago, day_ago))

    def clean_up(settings: Settings) -> tuple[int, bool, int]:
        clean = build_defs(settings).resolve_job_def("clean_history")
        assert clean.execute_in_process(instance=history).success
        runs = [run for run in history.get_runs() if run.job_name == "ingest_shards"]
        return len(runs), part.exists(), len(cache.read(["https://a.test/1"]))

    assert clean_up(settings) == (2, True, 1)
    assert clean_up(replace(settings, keep_scratch_days=0.5)) == (2, False, 1)
    assert clean_up(replace(settings, keep_history_days=0, picture_cache_gb=0)) == (1, False, 0)
