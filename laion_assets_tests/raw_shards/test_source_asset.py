"""The graph begins at the source, and what changes there is an event."""

import dagster as dg
import pytest

from laion_assets.definitions import build_defs
from laion_assets.raw_shards.source_asset import SOURCE_SHARDS_KEY
from laion_assets.runs.backfill import discover_shards
from laion_assets.runs.tick import IN_BACKGROUND
from laion_assets.settings import Settings
from laion_assets_tests.conftest import WriteShard

pytestmark = pytest.mark.slow


def count_events(instance: dg.DagsterInstance) -> dict[str, int]:
    events = instance.fetch_materializations(SOURCE_SHARDS_KEY, limit=10).records
    found = [str(event.partition_key) for event in events]
    return {shard: found.count(shard) for shard in found}


def test_the_graph_begins_at_the_source(settings: Settings) -> None:
    graph = build_defs(settings).resolve_asset_graph()
    node = graph.get(SOURCE_SHARDS_KEY)
    assert node.is_external
    assert graph.get(dg.AssetKey("raw_shards")).parent_keys == {SOURCE_SHARDS_KEY}


@pytest.mark.exhaustive
def test_a_shard_that_is_found_is_an_event_once(
    settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    write_shard("a", url=["https://a.test/1"], caption=["a fox"])
    discover_shards(settings, instance)
    assert count_events(instance) == {"a": 1}
    job = build_defs(settings).resolve_job_def("ingest_shards")
    job.execute_in_process(instance=instance, partition_key="a")
    discover_shards(settings, instance)
    assert count_events(instance) == {"a": 1}
    write_shard("b", url=["https://b.test/1"], caption=["a hen"])
    discover_shards(settings, instance)
    assert count_events(instance) == {"a": 1, "b": 1}


def test_what_the_schedule_starts_waits_for_what_people_start(settings: Settings) -> None:
    schedule = build_defs(settings).resolve_schedule_def("daily_refresh")
    assert dict(schedule.tags)["dagster/priority"] == IN_BACKGROUND["dagster/priority"] == "-1"


def test_a_release_and_the_lists_have_to_be_fresh(settings: Settings) -> None:
    specs = build_defs(settings).resolve_all_asset_specs()
    fresh = {spec.key.to_user_string() for spec in specs if spec.freshness_policy}
    assert fresh == {"release", "removals", *settings.sheets}
