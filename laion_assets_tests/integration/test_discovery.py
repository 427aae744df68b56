"""Shards that turn up, change and go: the sensor, and `laion` against servers on loopback."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from laion_assets.definitions import build_defs, build_resources
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.operations.status_report import read_status
from laion_assets.partitions import SHARDS_NAME
from laion_assets.pictures.resource import PictureRules
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.releases.catalog import list_releases, newest_release
from laion_assets.runs.attempts import Memory
from laion_assets.runs.backfill import (
    QUIET,
    discover_shards,
    find_missing,
    find_without_pictures,
    run_job,
)
from laion_assets.runs.tick import MAX_NEW_RUNS, MAX_RUNS
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.locks import lock_shard
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import WriteShard, WriteSheet, make_shard
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.integration.conftest import Shell, count_rows
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.pipeline import load
from laion_assets_tests.servers.file_server import HTML, FileServer, Serve, send
from laion_assets_tests.servers.hub_server import Hub
from laion_assets_tests.servers.picture_server import ADDRESS, serve_pictures
from laion_assets_tests.servers.picture_server import picture as send_picture

OLD, NEW = make_shard("old"), make_shard("new", rows=5)
DATASET = "laion/small"
LOCATION = f"hf://datasets/{DATASET}/*.parquet"


class Pipeline:
    """The sensor and the jobs that it starts, over an instance of their own.

    Args:
        settings: where everything is.
        instance: knows the runs.
        rules: what the jobs are configured with besides.
        is_checking: whether the jobs run their thirty checks, of which a tick asks nothing.
    """

    def __init__(
        self,
        settings: Settings,
        instance: dg.DagsterInstance,
        rules: Mapping[str, object] | None = None,
        *,
        is_checking: bool = False,
    ) -> None:
        self.instance = instance
        self._is_checking = is_checking
        self._defs = build_defs(settings)
        self._resources = build_resources(settings)
        self._cursor: str | None = None
        # Fields of `picture_rules`, for runs that fetch pictures.
        rules = {"picture_rules": {"config": rules}} if rules else {}
        self._config = {"add_pictures": {"resources": rules}}

    @property
    def memory(self) -> Memory:
        """What the last tick remembered."""
        return Memory.read(self._cursor)

    def wait(self, minutes: float) -> None:
        """Makes it so much later for the next tick."""
        memory = self.memory
        memory.asked_at = 0
        memory.waiting_since -= int(60 * minutes) if memory.waiting_since else 0
        memory.attempts = {
            key: replace(a, next_at=a.next_at - int(60 * minutes)) if a.next_at > 0 else a
            for key, a in memory.attempts.items()
        }
        self._cursor = memory.write()

    def evaluate(self, *, is_asking: bool = True) -> dg.SensorResult:
        """Returns what a tick asks for; servers are asked in each, unless it says otherwise."""
        if is_asking:
            self.wait(0)
        context = dg.build_sensor_context(
            instance=self.instance,
            resources=self._resources,
            cursor=self._cursor,
            sensor_name="discover_shards",
        )
        result = self._defs.resolve_sensor_def("discover_shards")(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def heed(self, result: dg.SensorResult) -> None:
        """Does what a tick asked for, as the daemon does."""
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(SHARDS_NAME, list(request.partition_keys))
        self._cursor = result.cursor
        for run in result.run_requests or ():
            job = self._defs.resolve_job_def(str(run.job_name))
            assets = run.asset_selection
            if run.job_name == "refresh_counts" and not self._is_checking:
                job, assets = self._leave_out_checks(job), None
            job.execute_in_process(
                instance=self.instance,
                partition_key=run.partition_key,
                run_config={**QUIET, **self._config.get(str(run.job_name), {}), **run.run_config},
                asset_selection=assets,
                raise_on_error=False,
            )

    @staticmethod
    def _leave_out_checks(job: dg.JobDefinition) -> dg.JobDefinition:
        """Leaves those that an asset makes itself."""
        layer = job.asset_layer
        made = {key for one in layer.asset_graph.assets_defs if one.keys for key in one.check_keys}
        return job.get_subset(asset_selection=layer.selected_asset_keys, asset_check_selection=made)

    def tick(self, *, is_asking: bool = True) -> list[str]:
        """Evaluates and heeds; returns what ran: shards, by name, and the job `refresh_counts`."""
        result = self.evaluate(is_asking=is_asking)
        self.heed(result)
        return [run.partition_key or str(run.job_name) for run in result.run_requests or ()]


def list_shards(result: dg.SensorResult) -> list[str]:
    return [run.partition_key for run in result.run_requests or () if run.partition_key]


def list_added(result: dg.SensorResult) -> list[str]:
    requests = result.dynamic_partitions_requests or ()
    return [key for request in requests for key in request.partition_keys]


@pytest.fixture
def pipeline(settings: Settings, instance: dg.DagsterInstance, hub: Hub) -> Pipeline:
    found = replace(settings, shards=(LOCATION,), hub_endpoint=hub.server.origin)
    return Pipeline(found, instance)


def test_each_shard_is_ingested_once_for_each_content(
    pipeline: Pipeline, hub: Hub, settings: Settings
) -> None:
    hub.publish(DATASET, {"a.parquet": OLD, "b.parquet": OLD})

    first, again = pipeline.evaluate(), pipeline.evaluate()

    assert (list_added(first), list_shards(first)) == (["a", "b"], ["a", "b"])
    assert list_shards(first) == list_shards(again)
    pipeline.heed(first)
    assert count_rows(settings) == ({"a": 3, "b": 3}, {"a": 3, "b": 3})
    after = pipeline.evaluate()
    assert (list_added(after), list_shards(after)) == ([], [])

    hub.publish(DATASET, {"a.parquet": OLD, "b.parquet": NEW})
    changed = pipeline.evaluate()
    assert (list_added(changed), list_shards(changed)) == ([], ["b"])
    pipeline.heed(changed)
    assert count_rows(settings) == ({"a": 3, "b": 5}, {"a": 3, "b": 5})
    assert list_shards(pipeline.evaluate()) == []


def list_jobs(result: dg.SensorResult) -> list[tuple[str, str | None]]:
    return [(str(run.job_name), run.partition_key) for run in result.run_requests or ()]


def write_pictured(write_shard: WriteShard, first: int = 0) -> Path:
    columns: dict[str, list[str]] = {
        "url": [f"https://a.test/{n}.jpg" for n in range(3)],
        "caption": [f"a fox {n}" for n in range(3)],
    }
    pictures = pa.array([paint(first + n) for n in range(3)], pa.binary())
    return write_shard("p", **columns, jpg=pictures)


def read_pictures(settings: Settings) -> list[bytes]:
    table = LanceStore(settings.lance_dir).open("images").to_table(["row_index", "image"])
    values: list[bytes] = table.sort_by("row_index")["image"].to_pylist()
    return values


@pytest.mark.exhaustive
def test_the_sensor_asks_for_the_pictures_that_a_shard_brings(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_pictured(write_shard)
    pipeline = Pipeline(settings, instance)
    assert pipeline.tick() == ["p"]

    added = pipeline.evaluate()

    # Before the release, which is to have them.
    assert list_jobs(added) == [("add_pictures", "p")]
    pipeline.heed(added)
    assert read_pictures(settings) == [paint(n) for n in range(3)]
    assert pipeline.tick() == ["refresh_counts"]
    assert pipeline.tick() == []
    assert read_status(settings, instance).is_sound

    # A new content goes the same way.
    write_pictured(write_shard, first=10)
    assert [pipeline.tick() for _ in range(4)] == [["p"], ["p"], ["refresh_counts"], []]
    assert read_pictures(settings) == [paint(10 + n) for n in range(3)]


@pytest.mark.exhaustive
def test_pictures_that_fail_are_named_and_hold_no_release(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    columns = {"url": ["https://a.test/1.jpg"], "caption": ["a fox"], "key": ["0"]}
    source = write_shard("p", **columns)
    source.with_suffix(".tar").write_bytes(b"no archive" * 200)
    pipeline = Pipeline(settings, instance)
    assert [pipeline.tick() for _ in range(3)] == [["p"], ["p"], ["refresh_counts"]]

    result = pipeline.evaluate()

    assert result.run_requests == []
    assert isinstance(result.skip_reason, dg.SkipReason)
    said = str(result.skip_reason.skip_message)
    assert "p: " in said
    assert "is not an uncompressed tar archive" in said
    (delay,) = read_status(settings, instance).delays
    assert "is not an uncompressed tar archive" in delay


@pytest.mark.exhaustive
def test_one_shard_at_a_time_has_its_pictures_fetched_once_for_each_content(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    settings = replace(settings, pictures="fetch", fetch_contact="somebody@example.org")
    rules = PictureRules.build(settings).model_dump(exclude_none=True)
    pipeline = Pipeline(
        settings, instance, {**rules, "allowed_networks": [f"{ADDRESS}/32"], "attempts": 1}
    )

    def write(shard: str, *paths: str) -> None:
        urls = [f"http://{ADDRESS}:{server.port}{path}" for path in paths]
        write_shard(shard, url=urls, caption=["a fox"] * len(paths))

    with serve_pictures() as server:
        server.answers |= {f"/{n}.jpg": send_picture(paint(n)) for n in range(4)}
        write_pictured(write_shard).rename(settings.data_dir / "shards" / "r.parquet")
        write("p", "/0.jpg", "/1.jpg", "/404.jpg")
        # Nothing is left to ask for.
        write("q", "/0.jpg")
        assert pipeline.tick() == ["p", "q", "r"]
        first = pipeline.evaluate()
        assert list_jobs(first) == [("add_pictures", "p")]
        status = read_status(settings, instance)
        assert (status.is_sound, status.without_pictures) == (False, ("p", "q", "r"))
        assert find_without_pictures(settings, ["p", "q", "r"]) == ["p", "q", "r"]

        # Beside it, shards are loaded; no second one is fetched.
        job = build_defs(settings).resolve_job_def("add_pictures")
        run = instance.create_run_for_job(
            job, tags={"dagster/partition": "p"}, status=dg.DagsterRunStatus.STARTED
        )
        write("s", "/2.jpg")
        beside = pipeline.evaluate()
        assert list_jobs(beside) == [("ingest_shards", "s")]
        pipeline.heed(beside)
        waiting = pipeline.evaluate()
        assert list_jobs(waiting) == []
        assert isinstance(waiting.skip_reason, dg.SkipReason)
        assert "one shard at a time has its pictures fetched; next: q and 2 more" in str(
            waiting.skip_reason.skip_message
        )
        instance.delete_run(run.run_id)

        ticks = [pipeline.tick() for _ in range(6)]
        assert ticks == [["p"], ["q"], ["r"], ["s"], ["refresh_counts"], []]
        asked = [name for name in server.asked if name.endswith(".jpg")]
        assert sorted(asked) == [f"{ADDRESS}/{path}.jpg" for path in (0, 1, 2, 404)]
        assert len(read_pictures(settings)) == 8
        assert sum(picture is not None for picture in read_pictures(settings)) == 7
        assert read_status(settings, instance).is_sound
        assert find_without_pictures(settings, ["p", "q", "r", "s"]) == []

        # The same file again asks for nothing, another one does.
        load(settings, "p", settings.data_dir / "shards" / "p.parquet")
        assert pipeline.tick() == ["p"]
        assert find_without_pictures(settings, ["p"]) == []
        write("p", "/0.jpg", "/3.jpg")
        assert [pipeline.tick() for _ in range(4)] == [["p"], ["p"], ["refresh_counts"], []]
        assert server.asked[-1] == f"{ADDRESS}/3.jpg"
        # Who only keeps pictures is behind with none of them.
        assert Pipeline(replace(settings, pictures="given"), instance).tick() == []


@pytest.mark.exhaustive
def test_nobody_who_wants_no_pictures_is_asked_for_them(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_pictured(write_shard)
    pipeline = Pipeline(replace(settings, pictures="none"), instance)
    assert [pipeline.tick() for _ in range(3)] == [["p"], ["refresh_counts"], []]


@pytest.mark.exhaustive
def test_a_content_that_comes_back_is_ingested_again(pipeline: Pipeline, hub: Hub) -> None:
    for content in (OLD, NEW, OLD):
        hub.publish(DATASET, {"a.parquet": content})
        assert pipeline.tick() == ["a"]


@pytest.mark.exhaustive
def test_a_broken_file_is_named_in_each_tick_and_not_tried_again_before_it_changes(
    pipeline: Pipeline, hub: Hub
) -> None:
    hub.publish(DATASET, {"a.parquet": HTML, "b.parquet": OLD})
    assert pipeline.tick() == ["a", "b"]
    assert pipeline.tick() == ["refresh_counts"]

    for _ in range(2):
        pipeline.wait(24 * 60)
        result = pipeline.evaluate()
        pipeline.heed(result)
        assert list_shards(result) == []
        assert "a: hf://datasets/laion/small@main/a.parquet: " in str(result.skip_reason)
        assert "not tried again until it changes" in str(result.skip_reason)

    hub.publish(DATASET, {"a.parquet": NEW, "b.parquet": OLD})
    assert pipeline.tick() == ["a"]


@pytest.mark.exhaustive
def test_a_shard_that_is_gone_is_reported_and_stays(
    pipeline: Pipeline, hub: Hub, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.publish(DATASET, {"a.parquet": OLD, "b.parquet": OLD})
    pipeline.tick()
    hub.publish(DATASET, {"a.parquet": OLD})

    assert list_shards(pipeline.evaluate()) == []

    assert "in no source any more: 1 shard, the first is b" in capsys.readouterr().err
    pipeline.tick()
    capsys.readouterr()
    pipeline.tick()
    assert "in no source any more" not in capsys.readouterr().err
    assert pipeline.instance.get_dynamic_partitions(SHARDS_NAME) == ["a", "b"]
    assert count_rows(settings) == ({"a": 3, "b": 3}, {"a": 3, "b": 3})


@pytest.mark.exhaustive
def test_two_sources_of_one_name_are_named_and_the_others_go_on(
    settings: Settings,
    instance: dg.DagsterInstance,
    hub: Hub,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.publish(DATASET, {"a.parquet": OLD, "b.parquet": OLD})
    other = hub.cdn.put("/b.parquet", Serve(NEW))
    found = replace(settings, shards=(LOCATION, other), hub_endpoint=hub.server.origin)

    assert Pipeline(found, instance).tick() == ["a"]

    assert (
        f"shard 'b' comes from both hf://datasets/{DATASET}@main/b.parquet"
        in capsys.readouterr().err
    )
    assert count_rows(settings)[0] == {"a": 3}


def test_a_tick_that_finds_only_problems_says_so(pipeline: Pipeline) -> None:
    """No dataset was published."""
    result = pipeline.evaluate()

    assert not result.run_requests
    assert str(result.skip_reason) == (
        f"SkipReason(skip_message='nothing new; {LOCATION}: status 404, no such dataset, "
        "revision or folder; correct LAION_SHARDS')"
    )


@pytest.fixture
def local(settings: Settings, instance: dg.DagsterInstance) -> Pipeline:
    return Pipeline(settings, instance)


def test_a_batch_of_shards_is_refreshed_once(local: Pipeline, write_shard: WriteShard) -> None:
    shards = [f"s{number}" for number in range(3)]
    for shard in shards:
        write_shard(shard, url=[f"https://a.test/{shard}"], caption=[shard])

    assert [local.tick() for _ in range(3)] == [shards, ["refresh_counts"], []]
    write_shard("s3", url=["https://a.test/s3"], caption=["s3"])
    assert [local.tick() for _ in range(3)] == [["s3"], ["refresh_counts"], []]


@pytest.mark.exhaustive
def test_nothing_is_refreshed_while_a_shard_is_on_its_way(
    local: Pipeline, write_shard: WriteShard
) -> None:
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    local.tick()
    waiting = dg.DagsterRun(job_name="ingest_shards", status=dg.DagsterRunStatus.STARTED)
    local.instance.add_run(waiting)

    assert local.tick() == []

    local.instance.report_run_canceled(waiting)
    assert local.tick() == ["refresh_counts"]


@pytest.mark.exhaustive
def test_a_touched_file_runs_nothing_downstream(local: Pipeline, write_shard: WriteShard) -> None:
    path = write_shard("a", url=["https://a.test/a"], caption=["a"])
    local.tick()
    local.tick()
    images = dg.AssetKey("images")
    loaded = local.instance.get_latest_materialization_event(images)
    os.utime(path, ns=(1, 1))

    assert [local.tick(), local.tick()] == [["a"], []]
    assert local.instance.get_latest_materialization_event(images) == loaded


@pytest.mark.exhaustive
def test_a_touched_file_that_was_never_loaded_is_loaded(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    path = write_shard("a", url=["https://a.test/a"], caption=["a"])
    fetch_shard(describe_file(path), RawStore(settings.raw_dir))
    os.utime(path, ns=(1, 1))

    assert local.tick() == ["a"]
    assert count_rows(settings) == ({"a": 1}, {"a": 1})


@pytest.mark.exhaustive
def test_what_was_loaded_by_hand_is_refreshed_too(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    """The tables are asked, not the history: here nothing was in it when the sensor came."""
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    with dg.DagsterInstance.ephemeral() as another:
        discover_shards(settings, another)
        ingest = build_defs(settings).resolve_job_def("ingest_shards")
        assert run_job(ingest, another, "a").reason is None

    assert [local.tick(), local.tick()] == [["refresh_counts"], []]


@pytest.mark.exhaustive
def test_what_was_loaded_and_not_copied_is_copied_before_it_is_released(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    """As after `images` alone was materialized from its page."""
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    local.tick()
    load(settings, "a", settings.data_dir / "shards" / "a.parquet")
    loaded = local.instance.get_latest_materialization_event(dg.AssetKey("images"))

    assert [local.tick() for _ in range(3)] == [["a"], ["refresh_counts"], []]
    assert local.instance.get_latest_materialization_event(dg.AssetKey("images")) == loaded


@pytest.mark.exhaustive
def test_a_shard_of_older_rules_is_loaded_again(
    local: Pipeline, settings: Settings, write_shard: WriteShard
) -> None:
    write_shard("a", url=["https://a.test/1.jpg"], caption=["a fox"])
    assert [local.tick(), local.tick(), local.tick()] == [["a"], ["refresh_counts"], []]
    with duckdb.connect(str(settings.database)) as connection:
        connection.execute("UPDATE shards SET cleaning_version = '0'")
        connection.execute("UPDATE images SET caption = 'by older rules'")
    (shard,) = read_status(settings, local.instance).shards
    assert shard.state == "behind"
    assert find_missing(settings, local.instance, ["a"]) == ["a"]

    assert [local.tick(), local.tick()] == [["a"], ["refresh_counts"]]

    with duckdb.connect(str(settings.database)) as connection:
        assert connection.execute("SELECT caption FROM images").fetchall() == [("a fox",)]
    assert find_missing(settings, local.instance, ["a"]) == []


@pytest.mark.exhaustive
def test_no_run_is_asked_for_of_a_shard_without_a_partition(
    local: Pipeline, settings: Settings, write_shard: WriteShard
) -> None:
    """Dagster fails the whole tick where a run is for a partition that is not there."""
    source = write_shard("a", url=["https://a.test/1.jpg"], caption=["a fox"])
    load(settings, "a", source)
    source.unlink()

    assert list_shards(local.evaluate()) == []


@pytest.mark.exhaustive
def test_what_failed_and_may_pass_is_tried_again_after_growing_pauses(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    """A file stands where the folder of the raw files has to be."""
    write_shard("s", url=["https://a.test/s"], caption=["s"])
    settings.raw_dir.touch()
    assert local.tick() == ["s"]
    for minutes in (1, 5, 15, 60, 60):
        result = local.evaluate()
        local.heed(result)
        assert list_shards(result) == []
        assert "next try at" in str(result.skip_reason)
        assert "File exists; check the file and the disk" in str(result.skip_reason)
        local.wait(minutes - 0.2)
        assert local.tick() == []
        local.wait(0.3)
        assert local.tick() == ["s"]

    settings.raw_dir.unlink()
    assert local.tick() == []
    local.wait(60)
    assert [local.tick() for _ in range(3)] == [["s"], ["refresh_counts"], []]
    assert local.memory.attempts == {}


@pytest.mark.exhaustive
def test_a_tick_says_what_it_waits_for_and_what_it_leaves_out(
    local: Pipeline, write_shard: WriteShard
) -> None:
    path = write_shard("a", url=["https://a.test/a"], caption=["a"])
    path.write_bytes(b"no parquet")
    local.tick()
    result = local.evaluate()
    local.heed(result)
    assert f"nothing new; a: {path}: " in str(result.skip_reason)
    waiting = dg.DagsterRun(job_name="ingest_shards", status=dg.DagsterRunStatus.STARTED)
    local.instance.add_run(waiting)
    assert "waiting for runs to end" in str(local.evaluate().skip_reason)


@pytest.mark.exhaustive
def test_a_refresh_that_fails_is_tried_again_after_a_pause(
    local: Pipeline, write_shard: WriteShard, settings: Settings, write_sheet: WriteSheet
) -> None:
    """Without names of before there is nothing to count."""
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    local.tick()
    Path(settings.sheets["artists"]).unlink()
    assert local.tick() == ["refresh_counts"]
    result = local.evaluate()
    local.heed(result)
    assert not result.run_requests
    assert "artists.csv: No such file or directory" in str(result.skip_reason)
    assert "next try at" in str(result.skip_reason)

    write_sheet("artists", "a")
    local.wait(1)

    assert [local.tick(), local.tick()] == [["refresh_counts"], []]
    assert count_releases(settings) == 1


def count_releases(settings: Settings) -> int:
    return len(list(list_releases(LanceStore(settings.lance_dir))))


@pytest.mark.exhaustive
def test_a_list_that_cannot_be_read_holds_nothing_back_and_is_read_again_after_a_pause(
    local: Pipeline, write_shard: WriteShard, settings: Settings, write_sheet: WriteSheet
) -> None:
    write_shard("a", url=["https://a.test/a"], caption=["a fox"])
    local.tick()
    local.tick()
    sheet = Path(settings.sheets["artists"])
    sheet.write_text("\n", encoding="utf-8")
    write_sheet("characters", "fox")
    write_shard("b", url=["https://a.test/b"], caption=["a fox"])

    assert [local.tick(), local.tick()] == [["b"], ["refresh_counts"]]
    with duckdb.connect(str(settings.database), read_only=True) as connection:
        counts = connection.execute("SELECT kind, image_count FROM entity_counts").fetchall()
    assert dict(counts) == {"artists": 0, "celebrities": 0, "characters": 2}
    assert count_releases(settings) == 2
    local.tick()
    result = local.evaluate()
    local.heed(result)
    assert f"the names of artists are those of before: {sheet}: " in str(result.skip_reason)
    status = read_status(settings, local.instance)
    assert not status.is_sound
    assert status.unread.keys() == {"artists"}
    assert status.unread["artists"].startswith(f"{sheet}: ")

    write_sheet("artists", "fox")
    local.wait(2)
    assert [local.tick(), local.tick()] == [["refresh_counts"], []]
    assert count_releases(settings) == 3
    assert str(local.evaluate().skip_reason) == "SkipReason(skip_message='nothing new')"
    assert read_status(settings, local.instance).is_sound


@pytest.mark.exhaustive
def test_a_release_that_could_not_be_published_is_published_after_a_pause(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    place.write_text("something else", encoding="utf-8")
    settings = replace(settings, publish=str(place))
    pipeline = Pipeline(settings, instance)
    write_shard("a", url=["https://a.test/a"], caption=["a fox"])
    assert [pipeline.tick(), pipeline.tick()] == [["a"], ["refresh_counts"]]
    newest = newest_release(LanceStore(settings.lance_dir))
    assert newest

    # At once, and then after growing pauses.
    again = pipeline.evaluate()
    (run,) = again.run_requests or ()
    assert run.asset_selection == [dg.AssetKey("published")]
    pipeline.heed(again)
    result = pipeline.evaluate()
    pipeline.heed(result)
    said = str(result.skip_reason)
    assert f"refresh_counts: {place}: has files, and is no published release" in said
    assert "next try at" in said
    assert f"release {newest.release} is not published yet" in said
    status = read_status(settings, instance)
    assert (status.is_sound, status.unpublished) == (False, newest.release)

    place.unlink()
    pipeline.wait(2)
    assert [pipeline.tick(), pipeline.tick()] == [["refresh_counts"], []]
    assert (place / "release.json").exists()
    assert read_status(settings, instance).is_sound
    # Another place has nothing yet.
    other = Pipeline(replace(settings, publish=str(tmp_path / "other")), instance)
    assert [other.tick(), other.tick()] == [["refresh_counts"], []]


@pytest.mark.exhaustive
def test_vectors_whose_encoder_was_not_there_are_computed_after_a_pause(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    settings = replace(settings, embeddings="compute", encoder=str(folder))
    pipeline = Pipeline(settings, instance)
    write_pictured(write_shard)
    # Pictures come with their vectors; these fail, and are asked for again alone.
    assert [pipeline.tick() for _ in range(2)] == [["p"], ["p"]]
    again = pipeline.evaluate()
    assert list_jobs(again) == [("ingest_shards", "p")]
    pipeline.heed(again)
    assert pipeline.tick() == ["refresh_counts"]
    assert not any(attempt.is_final for attempt in pipeline.memory.attempts.values())
    status = read_status(settings, instance)
    assert [shard.state for shard in status.shards] == ["part done"]
    (delay,) = status.delays
    assert delay.startswith(f"p: LAION_ENCODER: there is no folder {folder}; ")

    EncoderFiles().write(folder)
    pipeline.wait(2)
    assert [pipeline.tick() for _ in range(3)] == [["p"], ["refresh_counts"], []]
    assert read_status(settings, instance).is_sound


@pytest.mark.exhaustive
def test_what_was_fetched_and_never_loaded_is_loaded(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    """As after a kill, a full disk or a read-only database in the step `images`."""
    path = write_shard("a", url=["https://a.test/a"], caption=["a"])
    local.instance.add_dynamic_partitions(SHARDS_NAME, ["a"])
    fetch_shard(describe_file(path), RawStore(settings.raw_dir))

    assert local.tick() == ["a"]
    assert count_rows(settings) == ({"a": 1}, {"a": 1})


@pytest.mark.exhaustive
def test_a_new_file_that_was_fetched_beside_old_rows_is_loaded_though_its_source_is_gone(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    """As after `raw_shards` alone was materialized."""
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    local.tick()
    path = write_shard("a", url=["https://a.test/1", "https://a.test/2"], caption=["a", "b"])
    fetch_shard(describe_file(path), RawStore(settings.raw_dir))
    path.unlink()

    assert local.tick() == ["a"]
    assert count_rows(settings) == ({"a": 2}, {"a": 2})


@pytest.mark.exhaustive
def test_a_copy_that_failed_is_tried_again_and_then_all_is_released(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    """A file stands where the folder of the Lance table has to be."""
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    settings.lance_dir.mkdir(parents=True)
    obstacle = settings.lance_dir / "images.lance"
    obstacle.touch()
    local.tick()
    result = local.evaluate()
    local.heed(result)
    assert list_shards(result) == ["a"]
    assert local.tick() == []
    obstacle.unlink()
    write_shard("b", url=["https://a.test/b"], caption=["b"])

    local.wait(1)
    assert [local.tick() for _ in range(3)] == [["a", "b"], ["refresh_counts"], []]
    assert count_rows(settings) == ({"a": 1, "b": 1},) * 2


@pytest.mark.exhaustive
def test_a_refresh_does_not_wait_for_ever(local: Pipeline, write_shard: WriteShard) -> None:
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    local.tick()
    local.instance.add_run(dg.DagsterRun(job_name="another", status=dg.DagsterRunStatus.STARTED))
    assert local.tick() == []
    local.wait(59)
    assert local.tick() == []

    local.wait(2)
    assert local.tick() == ["refresh_counts"]


def test_a_cancelled_run_is_not_started_again_by_the_sensor(
    local: Pipeline, write_shard: WriteShard
) -> None:
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    result = local.evaluate()
    local.heed(replace_runs(result))
    tags = {"dagster/partition": "a"}
    run = dg.DagsterRun(job_name="ingest_shards", status=dg.DagsterRunStatus.STARTED, tags=tags)
    local.instance.add_run(run)
    assert local.tick() == []
    local.instance.report_run_canceled(run)
    local.wait(600)

    again = local.evaluate()

    assert not again.run_requests
    assert "a: its run was cancelled; start it again by hand" in str(again.skip_reason)


def replace_runs(result: dg.SensorResult) -> dg.SensorResult:
    """Returns the result without its runs, for a test that makes them itself."""
    return dg.SensorResult(
        dynamic_partitions_requests=result.dynamic_partitions_requests, cursor=result.cursor
    )


@pytest.mark.exhaustive
def test_thousands_of_new_shards_are_asked_for_in_batches(
    local: Pipeline, write_shard: WriteShard
) -> None:
    path = write_shard("s0000", url=["https://a.test/a"], caption=["a"])
    for number in range(1, 3000):
        os.link(path, path.with_name(f"s{number:04}.parquet"))

    result = local.evaluate()

    assert len(list_added(result)) == 3000
    assert len(list_shards(result)) == MAX_NEW_RUNS
    assert len(result.cursor or "") < 1000
    for request in result.dynamic_partitions_requests or ():
        local.instance.add_dynamic_partitions(SHARDS_NAME, list(request.partition_keys))
    for number in range(MAX_RUNS - 1):
        tags = {"dagster/partition": f"s{number:04}"}
        local.instance.add_run(
            dg.DagsterRun(job_name="ingest_shards", status=dg.DagsterRunStatus.STARTED, tags=tags)
        )
    assert list_shards(local.evaluate()) == [f"s{MAX_RUNS - 1:04}"]


@pytest.mark.exhaustive
def test_a_foreign_program_that_has_the_database_is_named_at_once(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    local.tick()
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(settings.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        write_shard("b", url=["https://b.test/b"], caption=["b"])
        result = local.evaluate()
        holder.communicate(b"\n")

    assert not result.run_requests
    # What the tick has seen and asked is not seen and asked again by the next one.
    (added,) = result.dynamic_partitions_requests or ()
    assert list(added.partition_keys) == ["b"]
    assert Memory.read(result.cursor).asked_at > 0
    assert f"(PID {holder.pid})" in str(result.skip_reason)
    assert "python" in str(result.skip_reason)
    assert [local.tick(), local.tick()] == [["b"], ["refresh_counts"]]


@pytest.mark.exhaustive
def test_a_refresh_that_a_load_overtakes_ends_without_a_release_and_without_a_failure(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    assert [local.tick(), local.tick()] == [["a"], ["refresh_counts"]]
    path = write_shard("b", url=["https://a.test/b"], caption=["b"])
    load(settings, "b", path)
    refresh = build_defs(settings).resolve_job_def("refresh_counts")
    tags = {"dagster/partition": "b"}
    loading = dg.DagsterRun(job_name="ingest_shards", status=dg.DagsterRunStatus.STARTED, tags=tags)

    alone = refresh.execute_in_process(instance=local.instance, raise_on_error=False)
    local.instance.add_run(loading)
    overtaken = refresh.execute_in_process(instance=local.instance, raise_on_error=False)

    # On its own it releases what is sound, which is what there was; see the next test.
    assert alone.success
    assert len(alone.asset_materializations_for_node("release")) == 1
    assert overtaken.success
    assert overtaken.asset_materializations_for_node("release") == []
    checks = overtaken.get_asset_check_evaluations()
    assert [c.check_name for c in checks if not c.passed] == ["names_match"]
    assert count_releases(settings) == 1


@pytest.mark.exhaustive
def test_a_shard_whose_copy_fails_does_not_hold_the_others_back(
    local: Pipeline, write_shard: WriteShard, settings: Settings
) -> None:
    """A folder stands where the lock of the shard has to be."""
    write_shard("a", url=["https://a.test/a"], caption=["a"])
    obstacle = Path(lock_shard(settings.lance_dir, "b").lock_file)
    obstacle.mkdir(parents=True)
    assert [local.tick(), local.tick()] == [["a"], ["refresh_counts"]]
    write_shard("b", url=["https://b.test/b"], caption=["b"])
    write_shard("c", url=["https://c.test/c"], caption=["c"])

    assert local.tick() == ["b", "c"]
    local.tick()
    assert local.tick() == ["refresh_counts"]
    newest = newest_release(LanceStore(settings.lance_dir))
    assert newest
    assert [shard.shard for shard in newest.shards] == ["a", "c"]
    assert [shard.describe() for shard in newest.outdated] == [
        f"nothing of b: its load of {newest.outdated[0].loaded_at:%Y-%m-%d %H:%M} was not in Lance"
    ]
    result = local.evaluate()
    local.heed(result)
    assert "releases are without the present load of b, which Lance lacks" in str(
        result.skip_reason
    )
    assert "next try at " in str(result.skip_reason)
    assert local.tick() == []

    obstacle.rmdir()
    local.wait(5)
    assert [local.tick() for _ in range(3)] == [["b"], ["refresh_counts"], []]
    newest = newest_release(LanceStore(settings.lance_dir))
    assert newest
    assert ([shard.shard for shard in newest.shards], newest.outdated) == (["a", "b", "c"], ())


# --- The command line ----------------------------------------------------------------------------


def count_events(shell: Shell) -> dict[str, int]:
    """How many materializations of each asset the history tells of."""
    with sqlite3.connect(shell.settings.history_dir / "history" / "runs" / "index.db") as history:
        query = (
            "SELECT asset_key, count(*) FROM event_logs "
            "WHERE dagster_event_type = 'ASSET_MATERIALIZATION' GROUP BY 1"
        )
        rows = history.execute(query).fetchall()
    history.close()
    return {json.loads(key)[0]: count for key, count in rows}


def read_log(shell: Shell) -> list[str]:
    """What the history tells of the package's own log."""
    lines = []
    for path in (shell.settings.history_dir / "history" / "runs").glob("*-*.db"):
        history = sqlite3.connect(path)
        rows: Sequence[tuple[str]] = history.execute("SELECT event FROM event_logs").fetchall()
        history.close()
        lines += [json.loads(event)["user_message"] for (event,) in rows]
    return lines


def test_a_second_backfill_transfers_and_materializes_nothing(
    shell: Shell, server: FileServer
) -> None:
    shell.variables["LAION_SHARDS"] = f"{server.origin}/s{{0..1}}.parquet"
    server.put("/s0.parquet", Serve(OLD))
    server.put("/s1.parquet", Serve(NEW))
    assert shell.run("laion", "discover").stdout == "s0\ns1\n"
    result = shell.run("laion", "backfill", "--all", "--no-refresh")
    assert result.returncode == 0, result.stderr
    assert server.sent_bytes == len(OLD) + len(NEW)
    assert "s0: 0 of 0 MB" in read_log(shell)
    events = count_events(shell)
    server.requests.clear()

    result = shell.run("laion", "discover")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "0 new shards, 0 changed, 0 gone, 2 in all\n"
    result = shell.run("laion", "backfill", "--missing", "--no-refresh")

    assert result.returncode == 0
    assert result.stderr.strip() == "laion: nothing to load: no shard is missing"
    assert server.methods == ["HEAD"] * 4
    assert server.sent_bytes == 0
    assert count_events(shell) == events

    server.put("/s0.parquet", Serve(NEW))
    result = shell.run("laion", "discover")
    assert "changed: s0\n0 new shards, 1 changed, 0 gone, 2 in all\n" in result.stderr
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.exhaustive
def test_bad_shards_are_lines_and_the_good_ones_are_ingested(
    shell: Shell, server: FileServer, hub: Hub
) -> None:
    hub.publish(DATASET, {"private.parquet": NEW}, is_private=True)
    server.put("/good.parquet", Serve(OLD))
    server.put("/page.parquet", send(200, HTML))
    server.put("/secret.parquet", send(403))
    names = ("good", "page", "secret", "none")
    urls = [f"{server.origin}/{name}.parquet?key=hidden" for name in names]
    shell.variables["LAION_SHARDS"] = ",".join([*urls, LOCATION, "ftp://me:word@a.test/x"])
    shell.variables.update(HF_ENDPOINT=hub.server.origin, HF_TOKEN=hub.token)

    result = shell.run("laion", "backfill", "--all", "--no-refresh")

    lines = [line for line in result.stderr.splitlines() if line]
    assert result.returncode == 1
    assert [line.split(":")[0] for line in lines] == [
        "laion",
        "done   good",
        "failed none",
        "failed page",
        "done   private",
        "failed secret",
    ]
    assert lines[0] == (
        "laion: ftp://a.test/x: unknown scheme; use a path, https://, hf:// or s3://"
    )
    assert lines[2] == (
        f"failed none: {server.origin}/none.parquet: status 404, no such file; correct LAION_SHARDS"
    )
    assert count_rows(shell.settings) == ({"good": 3, "private": 5},) * 2
    history = b"".join(p.read_bytes() for p in shell.data_dir.rglob("*") if p.is_file())
    for secret in ("hidden", "Signature", "me:word", hub.token):
        assert secret not in result.stderr + result.stdout
        assert secret.encode() not in history


@pytest.mark.exhaustive
def test_a_command_lists_the_sources_once_for_all_its_runs(shell: Shell, hub: Hub) -> None:
    # The whole list is one request.
    hub.page_entries = 1000
    hub.publish(DATASET, {f"{shard}.parquet": make_shard(shard) for shard in "abc"})
    shell.variables.update(LAION_SHARDS=LOCATION, HF_ENDPOINT=hub.server.origin)

    result = shell.run("laion", "backfill", "--all", "--no-refresh")

    assert result.returncode == 0, result.stderr
    assert count_rows(shell.settings)[1] == {"a": 3, "b": 3, "c": 3}
    assert len([r for r in hub.server.requests if r.path.startswith("/api/")]) == 1


@pytest.mark.exhaustive
def test_status_says_what_is_not_done_and_why(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for shard in ("good", "bad", "same"):
        (folder / f"{shard}.parquet").write_bytes(make_shard(shard))
    (folder / "bad.parquet").write_bytes(HTML)
    assert shell.run("laion", "backfill", "--all").returncode == 1
    fetched = make_shard("good", rows=5)
    (folder / "good.parquet").write_bytes(fetched)
    fetch_shard(describe_file(folder / "good.parquet"), RawStore(shell.settings.raw_dir))
    assert shell.run("laion", "backfill", "same").returncode == 0
    (folder / "new.parquet").write_bytes(make_shard("new"))

    lines = shell.run("laion", "status").stdout.splitlines()

    states = {line.split()[0]: line.split()[-1] for line in lines[1:4]}
    assert states == {"bad": "failed", "good": "behind", "same": "done"}
    assert not any(line.startswith("Counts and release are behind") for line in lines)
    assert "New in the sources: 1 shard; `laion discover`" in lines
    assert any(line.startswith(f"bad: {folder}/bad.parquet: ") for line in lines)


@pytest.mark.exhaustive
def test_usual_rows_go_from_a_web_server_through_the_whole_graph(
    shell: Shell, server: FileServer, tmp_path: Path
) -> None:
    (file,) = write_sample_shards(tmp_path, ["Claude Monet"], SampleSpec(1, 5_000))
    shard, content = file.stem, file.read_bytes()
    url = server.put(f"/{file.name}", Serve(content, cut_bytes=200_000))
    shell.variables["LAION_SHARDS"] = url

    result = shell.run("laion", "backfill", "--all")

    assert result.returncode == 0, result.stderr
    assert server.sent_bytes == len(content)
    with duckdb.connect() as connection:
        query = "SELECT count(*) FROM read_parquet(?)"
        (file_rows,) = connection.execute(query, [str(file)]).fetchall()[0]
    with duckdb.connect(str(shell.settings.database), read_only=True) as connection:
        query = "SELECT count(*) FROM images UNION ALL SELECT count(*) FROM rejected_images"
        kept, rejected = (row[0] for row in connection.execute(query).fetchall())
        (domains,) = connection.execute("SELECT sum(image_count) FROM domain_counts").fetchall()
    assert kept + rejected == file_rows
    assert count_rows(shell.settings)[1] == {shard: kept}
    assert domains == (kept,)
