"""Shards that turn up, change and go: the sensor, and `laion` against servers on loopback."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg
import duckdb
import pytest

from laion_assets.automation import discover_shards
from laion_assets.definitions import build_defs
from laion_assets.lib.errors import ShardError
from laion_assets.partitions import SHARDS_NAME
from laion_assets.resources import ShardSource
from laion_assets.settings import REPOSITORY, Settings
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.integration.conftest import Shell, count_rows
from laion_assets_tests.lib.sources.file_server import HTML, FileServer, Serve, send
from laion_assets_tests.lib.sources.hub_server import Hub

REAL_SHARD = REPOSITORY.parent / "shared" / "data" / "laion400m-5000.parquet"
OLD, NEW = make_shard("old"), make_shard("new", rows=5)
DATASET = "laion/small"
LOCATION = f"hf://datasets/{DATASET}/*.parquet"


class Pipeline:
    """The sensor and the job that it starts, over an instance of their own."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._defs = build_defs(settings)
        self._shards = ShardSource.build(settings)

    def evaluate(self) -> dg.SensorResult:
        """Returns what a tick asks for."""
        context = dg.build_sensor_context(
            instance=self.instance,
            resources={"shards": self._shards},
            sensor_name="discover_shards",
        )
        result = discover_shards(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def heed(self, result: dg.SensorResult) -> None:
        """Does what a tick asked for, as the daemon does."""
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions(SHARDS_NAME, list(request.partition_keys))
        job = self._defs.resolve_job_def("ingest_shards")
        for run in result.run_requests or ():
            job.execute_in_process(
                instance=self.instance, partition_key=run.partition_key, raise_on_error=False
            )

    def tick(self) -> list[str]:
        """Evaluates and heeds; returns the shards that were ingested."""
        result = self.evaluate()
        self.heed(result)
        return list_shards(result)


def list_shards(result: dg.SensorResult) -> list[str]:
    return [str(request.partition_key) for request in result.run_requests or ()]


def list_keys(result: dg.SensorResult) -> list[str]:
    return [str(request.run_key) for request in result.run_requests or ()]


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
    assert list_keys(first) == list_keys(again)
    pipeline.heed(first)
    assert count_rows(settings) == ({"a": 3, "b": 3}, {"a": 3, "b": 3})
    after = pipeline.evaluate()
    assert (list_added(after), list_shards(after)) == ([], [])

    hub.publish(DATASET, {"a.parquet": OLD, "b.parquet": NEW})
    changed = pipeline.evaluate()
    assert (list_added(changed), list_shards(changed)) == ([], ["b"])
    assert set(list_keys(changed)).isdisjoint(list_keys(first))
    pipeline.heed(changed)
    assert count_rows(settings) == ({"a": 3, "b": 5}, {"a": 3, "b": 5})
    assert pipeline.tick() == []


def test_a_content_that_comes_back_is_ingested_again(pipeline: Pipeline, hub: Hub) -> None:
    keys = []
    for content in (OLD, NEW):
        hub.publish(DATASET, {"a.parquet": content})
        result = pipeline.evaluate()
        keys += list_keys(result)
        pipeline.heed(result)
    hub.publish(DATASET, {"a.parquet": OLD})

    keys += list_keys(pipeline.evaluate())

    assert len(set(keys)) == 3


def test_a_shard_that_fails_is_not_started_again_before_it_changes(
    pipeline: Pipeline, hub: Hub
) -> None:
    hub.publish(DATASET, {"a.parquet": HTML, "b.parquet": OLD})
    first = pipeline.evaluate()
    pipeline.heed(first)

    second = pipeline.evaluate()
    hub.publish(DATASET, {"a.parquet": NEW, "b.parquet": OLD})
    third = pipeline.evaluate()

    assert list_shards(second) == list_shards(third) == ["a"]
    # Dagster starts one run for a key.
    assert set(list_keys(second)) < set(list_keys(first))
    assert set(list_keys(third)).isdisjoint(list_keys(first))


def test_a_shard_that_is_gone_is_reported_and_stays(
    pipeline: Pipeline, hub: Hub, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.publish(DATASET, {"a.parquet": OLD, "b.parquet": OLD})
    pipeline.tick()
    hub.publish(DATASET, {"a.parquet": OLD})

    assert pipeline.tick() == []

    assert "no source has b any more; what is here of it stays" in capsys.readouterr().err
    assert pipeline.instance.get_dynamic_partitions(SHARDS_NAME) == ["a", "b"]
    assert count_rows(settings) == ({"a": 3, "b": 3}, {"a": 3, "b": 3})


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


def test_a_tick_that_finds_only_problems_fails_with_them(pipeline: Pipeline) -> None:
    """No dataset was published."""
    with pytest.raises(ShardError) as failure:
        pipeline.evaluate()

    assert str(failure.value) == (
        f"{LOCATION}: status 404, no such dataset, revision or folder; correct LAION_SHARDS"
    )


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

    assert (result.returncode, result.stderr.split()) == (0, [])
    assert server.methods == ["HEAD"] * 4
    assert server.sent_bytes == 0
    assert count_events(shell) == events

    server.put("/s0.parquet", Serve(NEW))
    result = shell.run("laion", "discover")
    assert "changed: s0\n0 new shards, 1 changed, 0 gone, 2 in all\n" in result.stderr
    assert (result.returncode, result.stdout) == (0, "")


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
        "laion: ftp://a.test/x: no place we read; use a path, https://, hf:// or s3://"
    )
    assert lines[2] == (
        f"failed none: {server.origin}/none.parquet: status 404, no such file; correct LAION_SHARDS"
    )
    assert count_rows(shell.settings) == ({"good": 3, "private": 5},) * 2
    history = b"".join(p.read_bytes() for p in shell.data_dir.rglob("*") if p.is_file())
    for secret in ("hidden", "Signature", "me:word", hub.token):
        assert secret not in result.stderr + result.stdout
        assert secret.encode() not in history


@pytest.mark.skipif(not REAL_SHARD.exists(), reason=f"{REAL_SHARD} is not there")
def test_real_rows_go_from_a_web_server_through_the_whole_graph(
    shell: Shell, server: FileServer
) -> None:
    shard, content = REAL_SHARD.stem, REAL_SHARD.read_bytes()
    url = server.put(f"/{REAL_SHARD.name}", Serve(content, cut_bytes=200_000))
    shell.variables["LAION_SHARDS"] = url

    result = shell.run("laion", "backfill", "--all")

    assert result.returncode == 0, result.stderr
    assert server.sent_bytes == len(content)
    with duckdb.connect() as connection:
        query = "SELECT count(*) FROM read_parquet(?)"
        (file_rows,) = connection.execute(query, [str(REAL_SHARD)]).fetchall()[0]
    with duckdb.connect(str(shell.settings.database), read_only=True) as connection:
        query = "SELECT count(*) FROM images UNION ALL SELECT count(*) FROM rejected_images"
        kept, rejected = (row[0] for row in connection.execute(query).fetchall())
        (domains,) = connection.execute("SELECT sum(image_count) FROM domain_counts").fetchall()
    assert kept + rejected == file_rows
    assert count_rows(shell.settings)[1] == {shard: kept}
    assert domains == (kept,)
