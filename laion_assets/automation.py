"""Jobs, the schedule and the sensor. Everything here is off until somebody turns it on."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.partitions import SHARDS, SHARDS_NAME
from laion_assets.resources import LanceStore, ShardSource, Warehouse
from laion_assets.runs import end_dead_runs, is_busy
from laion_assets.shard_checks import MOSTLY_ACCEPTED, ROWS_ACCOUNTED
from laion_assets.source_events import describe_changes

if TYPE_CHECKING:
    from laion_assets.lib.discovery import Discovery

# A web server is asked for the version of each of its files every time.
DISCOVERY_INTERVAL_S = 120
# A file that was touched and has the same content stops at `raw_shards`.
ONLY_IF_CHANGED = {"ops": {"raw_shards": {"config": {"only_if_changed": True}}}}
# In the queue of runs, those that somebody starts by hand go first: their priority is 0.
IN_BACKGROUND = {"dagster/priority": "-1"}
SHARD_CHECKS = dg.AssetSelection.checks(ROWS_ACCOUNTED.key, MOSTLY_ACCEPTED.key)
# What tells of all shards runs with the refresh, once for many of them.
TABLE_CHECKS = dg.AssetSelection.checks_for_assets("images", "lance_images") - SHARD_CHECKS
INGEST_SHARDS = dg.define_asset_job(
    "ingest_shards",
    # A list of strings would be parsed, which imports 0.1 s of grammar into every process.
    selection=dg.AssetSelection.assets("raw_shards", "images", "lance_images") - TABLE_CHECKS,
    description="Brings one shard from its source to Lance.",
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
        tags=IN_BACKGROUND,
        description="Refreshes names, counts and release every day at 06:00 UTC.",
    )


def build_discover_shards(
    refresh: dg.UnresolvedAssetJobDefinition,
    kinds: Iterable[str],
    interval_s: int = DISCOVERY_INTERVAL_S,
) -> dg.SensorDefinition:
    """Returns the sensor that keeps everything up to date with the sources.

    It asks the tables whether a refresh is due, not Dagster's automation conditions: runs that a
    sensor starts are no backfill, so conditions would refresh between them, and would not see what
    `laion backfill` loaded while the daemon was down.
    """
    kinds = tuple(kinds)

    @dg.sensor(
        name="discover_shards",
        jobs=[INGEST_SHARDS, refresh],
        minimum_interval_seconds=interval_s,
        description=(
            "Looks every two minutes for new and changed shards and ingests each once; when no run "
            "is left, refreshes counts and release once for all of them. A shard that no source "
            "has any more stays; the log of the tick names it, and what could not be listed."
        ),
    )
    def discover_shards(
        context: dg.SensorEvaluationContext,
        shards: ShardSource,
        warehouse: Warehouse,
        lance_store: LanceStore,
    ) -> dg.SensorResult:
        end_dead_runs(context.instance)
        found = _discover(context, shards, warehouse)
        # Shards that failed stay due; what was asked for is not asked for again.
        requested = set(json.loads(context.cursor or "[]"))
        news = [shard for shard, change in found.due.items() if change not in requested]
        runs = [_request_ingest(shard, found.due[shard]) for shard in news]
        is_waiting = not runs and is_busy(context.instance)
        if not runs and not is_waiting:
            known = {*context.instance.get_dynamic_partitions(SHARDS_NAME), *found.new}
            runs = _request_rest(warehouse, lance_store, refresh.name, kinds, known)
        return dg.SensorResult(
            skip_reason=None if runs else _say_why(found, is_waiting=is_waiting),
            run_requests=runs,
            dynamic_partitions_requests=(
                [SHARDS.build_add_request(found.new)] if found.new else []
            ),
            cursor=json.dumps(sorted(found.due.values())),
            asset_events=list(describe_changes(found.due, news)),
        )

    return discover_shards


def _request_ingest(shard: str, change: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=change,
        job_name=INGEST_SHARDS.name,
        partition_key=shard,
        run_config=ONLY_IF_CHANGED,
        tags=IN_BACKGROUND,
    )


def _request_rest(
    warehouse: Warehouse,
    lance_store: LanceStore,
    refresh: str,
    kinds: Iterable[str],
    known: Collection[str],
) -> list[dg.RunRequest]:
    """Returns what brings Lance, counts and release up to date with DuckDB, each asked for once.

    A shard in DuckDB that is not among the known ones has no partition, so no run can be of it.
    """
    from laion_assets.lib.lance_images import find_unnoted
    from laion_assets.lib.release import find_unreleased

    copies = [
        dg.RunRequest(
            run_key=f"copy {load_id}",
            job_name=INGEST_SHARDS.name,
            partition_key=shard,
            asset_selection=[dg.AssetKey("lance_images")],
            tags=IN_BACKGROUND,
        )
        for shard, load_id in find_unnoted(warehouse.database).items()
        if shard in known
    ]
    state = find_unreleased(warehouse.database, Path(lance_store.path), kinds)
    refreshes = (
        [dg.RunRequest(run_key=state, job_name=refresh, tags=IN_BACKGROUND)] if state else []
    )
    return copies or refreshes


def _say_why(found: Discovery, *, is_waiting: bool) -> str:
    """Returns why nothing runs."""
    failed = f"; not ingested, see their runs: {', '.join(found.due)}" if found.due else ""
    state = "waiting for runs to end" if is_waiting else "nothing new"
    return "; ".join([f"{state}{failed}", *found.problems])


def _discover(
    context: dg.SensorEvaluationContext, shards: ShardSource, warehouse: Warehouse
) -> Discovery:
    """Returns how the sources differ; shards that older rules cleaned are due, too."""
    from laion_assets.lib.discovery import discover
    from laion_assets.lib.lance_images import find_outdated

    partitions = context.instance.get_dynamic_partitions(SHARDS_NAME)
    # The next tick asks again.
    found = discover(shards.locations, Path(shards.raw_dir), shards.rules.hurried, partitions)
    for line in (*found.warnings, *found.problems):
        context.log.warning(line)
    for shard in found.gone:
        context.log.warning(f"no source has {shard} any more; what is here of it stays")
    outdated = find_outdated(warehouse.database)
    reloads = {shard: f"reload {load_id}" for shard, load_id in outdated.items()}
    return replace(found, due={**reloads, **found.due})
