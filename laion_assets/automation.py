"""Jobs, the schedule and the sensor. Everything here is off until somebody turns it on."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace

import dagster as dg

from laion_assets.curation.resource import CurationFile
from laion_assets.embeddings.resource import EmbeddingRules
from laion_assets.images.checks import MOSTLY_ACCEPTED, ROWS_ACCOUNTED
from laion_assets.orchestration.dead_runs import end_dead_runs
from laion_assets.partitions import SHARDS
from laion_assets.pictures.resource import PictureRules
from laion_assets.publishing.resource import PublishRules
from laion_assets.raw_shards.resource import ShardSource
from laion_assets.raw_shards.source_asset import describe_changes
from laion_assets.runs.attempts import Memory
from laion_assets.runs.tick import (
    IN_BACKGROUND,
    INGEST_NAME,
    PICTURES_NAME,
    REFRESH_NAME,
    SENSOR_NAME,
    Planner,
    look,
    read_due,
    say_why,
    warn_of_changes,
)
from laion_assets.stores.resources import LanceResource, Warehouse

# From the arrival of a small file to its release there are two ticks and two runs.
DISCOVERY_INTERVAL_S = 15
SHARD_CHECKS = dg.AssetSelection.checks(ROWS_ACCOUNTED.key, MOSTLY_ACCEPTED.key)
# What tells of all shards runs with the refresh, once for many of them.
TABLE_CHECKS = (
    dg.AssetSelection.checks_for_assets("images", "lance_images", "pictures", "embeddings")
    - SHARD_CHECKS
)
INGEST_SHARDS = dg.define_asset_job(
    INGEST_NAME,
    # A list of strings would be parsed, which imports 0.1 s of grammar into every process.
    selection=dg.AssetSelection.assets(
        "raw_shards", "images", "lance_images", "embeddings", "declared_columns"
    )
    - TABLE_CHECKS,
    description="Brings one shard from its source to Lance, with the vectors that it has and the "
    "columns that are declared.",
)


def build_add_pictures(*, is_computing: bool) -> dg.UnresolvedAssetJobDefinition:
    """Returns the job that adds pictures, and their vectors if these are computed."""
    vectors = ("embeddings",) if is_computing else ()
    return dg.define_asset_job(
        PICTURES_NAME,
        # Declared columns may read what is known of pictures.
        selection=dg.AssetSelection.assets("pictures", *vectors, "declared_columns") - TABLE_CHECKS,
        description="Adds the pictures of one shard to its rows in Lance, and the vectors that "
        "are computed from them.",
    )


def build_refresh_job(
    kinds: Iterable[str], subsets: Iterable[str] = (), *, is_publishing: bool = False
) -> dg.UnresolvedAssetJobDefinition:
    """Returns the job that reads the sheets, counts, releases, and makes what is made of it.

    Args:
        kinds: of names.
        subsets: that are declared.
        is_publishing: whether each release is published.
    """
    published = ("published",) if is_publishing else ()
    return dg.define_asset_job(
        REFRESH_NAME,
        selection=dg.AssetSelection.assets(
            *(*kinds, *subsets, *published),
            *("removals", "domain_counts", "site_counts", "entity_counts", "release"),
        )
        | TABLE_CHECKS,
        description="Reads the sheets and the list of removals, counts domains, sites and names, "
        "publishes a release, and makes its subsets.",
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
    add_pictures: dg.UnresolvedAssetJobDefinition,
    refresh: dg.UnresolvedAssetJobDefinition,
    kinds: Iterable[str],
    subsets: Collection[str] = (),
    publish_rules: PublishRules | None = None,
    interval_s: int = DISCOVERY_INTERVAL_S,
) -> dg.SensorDefinition:
    """Returns the sensor that keeps everything up to date with the sources.

    It compares the tables and files themselves, not Dagster's automation conditions; why is in
    docs/decisions/sensor.md.
    """
    kinds = tuple(kinds)

    @dg.sensor(
        name=SENSOR_NAME,
        jobs=[INGEST_SHARDS, add_pictures, refresh],
        minimum_interval_seconds=interval_s,
        description=(
            "Looks for new and changed shards, in folders every 15 seconds, on servers every two "
            "minutes, and brings each to Lance, with the pictures that it has. Where pictures are "
            "fetched, one shard at a time fetches them. When no run is left, refreshes counts and "
            "release once for all of them. What failed and may pass is tried again after 1, 5, 15 "
            "and 60 minutes, then hourly; each tick names what is not done, and why."
        ),
    )
    def discover_shards(
        context: dg.SensorEvaluationContext,
        shards: ShardSource,
        picture_rules: PictureRules,
        embedding_rules: EmbeddingRules,
        warehouse: Warehouse,
        lance_store: LanceResource,
        curation_file: CurationFile,
    ) -> dg.SensorResult:
        from laion_assets.curation.place import CurationError
        from laion_assets.errors import DatabaseBusyError
        from laion_assets.runs.due import Wishes
        from laion_assets.runs.status import find_unpublished, find_unread_lists

        instance = context.instance
        end_dead_runs(instance)
        memory, now = Memory.read(context.cursor), time.time()
        found = look(instance, shards, memory, now)
        for line in warn_of_changes(found, memory):
            context.log.warning(line)
        additions = [SHARDS.build_add_request(found.new)] if found.new else []
        try:
            curation = curation_file.read()
            # Those that were declared when the definitions were loaded; the job has no others.
            known = tuple(subset for subset in curation.subsets if subset.name in subsets)
            due = read_due(
                instance,
                found,
                shards.store,
                (warehouse, lance_store),
                kinds,
                wishes=Wishes(
                    is_embedding=shards.is_bringing_vectors,
                    is_computing=embedding_rules.mode == "compute",
                    is_picturing=picture_rules.mode != "none",
                    is_fetching=picture_rules.mode == "fetch",
                    curation=replace(curation, subsets=known),
                ),
            )
        except (DatabaseBusyError, CurationError) as error:
            # No run could read that file either.
            return dg.SensorResult(
                skip_reason=f"{error}; looks again by itself",
                dynamic_partitions_requests=additions,
                cursor=memory.write(),
            )
        unpublished = find_unpublished(instance, lance_store.store, publish_rules)
        due = replace(due, unpublished=unpublished)
        unread = find_unread_lists(instance, (*kinds, "removals"))
        plan = Planner(instance, memory, now).plan(due, unread, found.unknown)
        reasons = say_why(found, due, unread, plan, memory, instance)
        reasons += [
            f"curation.toml declares the subset {subset.name} since these definitions were loaded; "
            "reload them (Deployment, Reload all), or run `laion backfill --missing`"
            for subset in curation.subsets
            if subset.name not in subsets
        ]
        if plan.runs and len(reasons) > 1:
            context.log.info("; ".join(reasons[1:]))
        return dg.SensorResult(
            skip_reason=None if plan.runs else "; ".join(reasons),
            run_requests=plan.runs,
            dynamic_partitions_requests=additions,
            cursor=memory.write(),
            asset_events=list(describe_changes(found.due, plan.fetched)),
        )

    return discover_shards
