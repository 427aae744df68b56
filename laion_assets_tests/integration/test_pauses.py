"""The pauses of the sensor between two tries, where servers are not asked in each tick."""

from dataclasses import replace

import dagster as dg
import pytest

from laion_assets.operations.status_report import read_status
from laion_assets.settings import Settings
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.integration.test_discovery import DATASET, LOCATION, Pipeline
from laion_assets_tests.servers.file_server import HTML, FileServer, Serve
from laion_assets_tests.servers.hub_server import Hub


@pytest.mark.exhaustive
def test_a_broken_file_of_a_web_server_is_fetched_once(
    settings: Settings, instance: dg.DagsterInstance, server: FileServer
) -> None:
    url = server.put("/a.parquet", Serve(HTML * 9))
    pipeline = Pipeline(replace(settings, shards=(url,)), instance)

    ran = [pipeline.tick(is_asking=number % 3 == 0) for number in range(9)]

    assert ran == [["a"], *[[]] * 8]
    (delay,) = read_status(replace(settings, shards=(url,)), instance).delays
    assert delay.startswith(f"a: {url}: ")


@pytest.mark.exhaustive
def test_pauses_grow_for_a_file_of_a_web_server(
    settings: Settings, instance: dg.DagsterInstance, server: FileServer
) -> None:
    """A file stands where the folder of the raw files has to be."""
    url = server.put("/a.parquet", Serve(make_shard("a")))
    pipeline = Pipeline(replace(settings, shards=(url,)), instance)
    settings.raw_dir.parent.mkdir()
    settings.raw_dir.touch()
    assert pipeline.tick() == ["a"]

    early = []
    for minutes in (1, 5, 15):
        early += [pipeline.tick(is_asking=is_asking) for is_asking in (False, True, False)]
        pipeline.wait(minutes - 0.2)
        early.append(pipeline.tick())
        pipeline.wait(0.4)
        assert pipeline.tick() == ["a"]

    assert early == [[]] * 12


@pytest.mark.exhaustive
def test_a_broken_file_of_the_hub_is_fetched_once(
    settings: Settings, instance: dg.DagsterInstance, hub: Hub
) -> None:
    hub.publish(DATASET, {"a.parquet": HTML})
    found = replace(settings, shards=(LOCATION,), hub_endpoint=hub.server.origin)
    pipeline = Pipeline(found, instance)

    ran = [pipeline.tick(is_asking=number % 3 == 0) for number in range(9)]

    assert ran == [["a"], *[[]] * 8]
