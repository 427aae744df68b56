"""Jobs and the schedule. Everything here is off until somebody turns it on."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

INGEST_SHARDS = dg.define_asset_job(
    "ingest_shards",
    selection=["raw_shards", "images", "lance_images"],
    description="Brings one shard from its source to Lance.",
)


def build_refresh_job(kinds: Iterable[str]) -> dg.UnresolvedAssetJobDefinition:
    """Returns the job that reads the sheets, counts, and releases."""
    return dg.define_asset_job(
        "refresh_counts",
        selection=dg.AssetSelection.assets(*kinds, "domain_counts", "entity_counts", "release"),
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
