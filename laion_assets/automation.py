"""Jobs, the schedule and the sensor. Everything here is off until somebody turns it on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import dagster as dg

from laion_assets.lib.errors import ShardError
from laion_assets.partitions import SHARDS, SHARDS_NAME
from laion_assets.resources import ShardSource
from laion_assets.shard_checks import ROWS_ACCOUNTED

# A web server is asked for the version of each of its files every time.
DISCOVERY_INTERVAL_S = 300
SHARD_CHECKS = dg.AssetSelection.checks(ROWS_ACCOUNTED.key)
# What tells of all shards runs with the refresh, once for many of them.
TABLE_CHECKS = dg.AssetSelection.checks_for_assets("images", "lance_images") - SHARD_CHECKS
INGEST_SHARDS = dg.define_asset_job(
    "ingest_shards",
    selection=dg.AssetSelection.assets("raw_shards", "images", "lance_images") - TABLE_CHECKS,
    description="Brings one shard from its source to Lance.",
)


@dg.sensor(
    job=INGEST_SHARDS,
    minimum_interval_seconds=DISCOVERY_INTERVAL_S,
    description="Looks every five minutes for new and changed shards, and ingests each once.",
)
def discover_shards(context: dg.SensorEvaluationContext, shards: ShardSource) -> dg.SensorResult:
    """Adds a partition for each new shard, and ingests new and changed shards, each once.

    A shard that no source has any more stays as it is; the log of the tick names it, and what
    could not be listed.
    """
    from laion_assets.lib.discovery import discover

    partitions = context.instance.get_dynamic_partitions(SHARDS_NAME)
    found = discover(shards.locations, Path(shards.raw_dir), shards.rules, partitions)
    for line in (*found.warnings, *found.problems):
        context.log.warning(line)
    for shard in found.gone:
        context.log.warning(f"no source has {shard} any more; what is here of it stays")
    if found.problems and not (found.due or found.new):
        raise ShardError("; ".join(found.problems))
    return dg.SensorResult(
        dynamic_partitions_requests=[SHARDS.build_add_request(found.new)] if found.new else [],
        run_requests=[
            dg.RunRequest(run_key=change, partition_key=shard)
            for shard, change in found.due.items()
        ],
    )


def build_refresh_job(kinds: Iterable[str]) -> dg.UnresolvedAssetJobDefinition:
    """Returns the job that reads the sheets, counts, and releases."""
    return dg.define_asset_job(
        "refresh_counts",
        selection=dg.AssetSelection.assets(*kinds, "domain_counts", "entity_counts", "release")
        | TABLE_CHECKS,
        description="Reads the sheets, counts domains and names, and publishes a release.",
    )


def build_daily_refresh(job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """Returns the schedule that runs the refresh every day."""
    return dg.ScheduleDefinition(
        name="daily_refresh",
        job=job,
        cron_schedule="0 6 * * *",
        execution_timezone="UTC",
        description="Refreshes names, counts and release every day at 06:00 UTC.",
    )
