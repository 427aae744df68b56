"""From a run that failed to the message that somebody gets."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from laion_assets.alarms.sensor import SENSOR_NAME
from laion_assets.definitions import build_defs, build_resources
from laion_assets.partitions import SHARDS_NAME
from laion_assets.settings import Settings
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.servers.webhook import Webhook, run_webhook

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]


class Watched:
    """A project whose failures somebody hears of."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, webhook: Webhook) -> None:
        url = f"http://127.0.0.1:{webhook.port}/hook"
        self.settings = replace(settings, alert_url=url, web_ui="https://ui.test")
        self.instance, self.webhook = instance, webhook
        self._defs = build_defs(self.settings)
        self._cursor: str | None = None
        self.listen()

    def run(self, job: str, shard: str | None = None) -> str:
        """Runs a job, and returns the id of its run."""
        if shard:
            self.instance.add_dynamic_partitions(SHARDS_NAME, [shard])
        result = self._defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, partition_key=shard, raise_on_error=False
        )
        return result.run_id

    def listen(self) -> list[dict[str, str]]:
        """Evaluates the sensor, and returns what was sent."""
        before = len(self.webhook.bodies)
        context = dg.build_sensor_context(
            instance=self.instance,
            resources=build_resources(self.settings),
            cursor=self._cursor,
            sensor_name=SENSOR_NAME,
        )
        result = self._defs.resolve_sensor_def(SENSOR_NAME)(context)
        assert isinstance(result, dg.SensorResult)
        self._cursor = result.cursor
        return [json.loads(body) for body in self.webhook.bodies[before:]]


@pytest.fixture
def watched(settings: Settings, instance: dg.DagsterInstance) -> Iterator[Watched]:
    with run_webhook() as webhook:
        yield Watched(settings, instance, webhook)


def test_a_broken_shard_is_told_once_until_it_was_whole(
    watched: Watched, write_shard: WriteShard
) -> None:
    path = write_shard("a", url=["https://a.test/1.jpg"], caption=["a fox"])
    whole = path.read_bytes()
    path.write_bytes(b"no parquet")
    first = watched.run("ingest_shards", "a")

    (alarm,) = watched.listen()
    assert alarm["title"] == "ingest_shards a failed"
    assert alarm["reason"].startswith(f"{path}: is no parquet file")
    assert alarm["link"] == f"https://ui.test/runs/{first}"

    watched.run("ingest_shards", "a")
    assert watched.listen() == []

    path.write_bytes(whole)
    watched.run("ingest_shards", "a")
    assert watched.listen() == []

    path.write_bytes(b"no parquet")
    watched.run("ingest_shards", "a")
    (again,) = watched.listen()
    assert again["cause"] == alarm["cause"]


@pytest.mark.exhaustive
def test_a_list_that_cannot_be_read_is_told_though_the_refresh_goes_on(
    watched: Watched, write_shard: WriteShard
) -> None:
    write_shard("a", url=["https://a.test/1.jpg"], caption=["a fox"])
    watched.run("ingest_shards", "a")
    watched.run("refresh_counts")
    watched.listen()
    sheet = watched.settings.sheets["artists"]
    Path(sheet).write_text("<!doctype html>", encoding="utf-8")

    watched.run("refresh_counts")
    told = watched.listen()
    assert [alarm["title"] for alarm in told] == ["check artists: list_read failed"]
    watched.run("refresh_counts")
    assert watched.listen() == []


@pytest.mark.exhaustive
def test_an_alarm_that_is_not_delivered_is_sent_later(
    watched: Watched, write_shard: WriteShard
) -> None:
    write_shard("a", url=["https://a.test/1.jpg"], caption=["a fox"]).write_bytes(b"no parquet")
    watched.webhook.status = 503
    watched.run("ingest_shards", "a")
    watched.listen()

    watched.webhook.status = 200
    (alarm,) = watched.listen()
    assert alarm["title"] == "ingest_shards a failed"
    assert watched.listen() == []


@pytest.mark.exhaustive
def test_what_failed_before_the_sensor_was_on_is_not_told(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("a", url=["https://a.test/1.jpg"], caption=["a fox"]).write_bytes(b"no parquet")
    with run_webhook() as webhook:
        watched = Watched(settings, instance, webhook)
        watched.run("ingest_shards", "a")
        late = Watched(settings, instance, webhook)
        assert late.listen() == []


def test_there_is_no_sensor_without_an_address(settings: Settings) -> None:
    assert SENSOR_NAME not in {sensor.name for sensor in build_defs(settings).sensors or ()}
