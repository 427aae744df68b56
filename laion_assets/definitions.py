"""All that Dagster loads."""

from __future__ import annotations

import dagster as dg

from laion_assets.alarms.sensor import build_send_alarms
from laion_assets.automation import (
    DISCOVERY_INTERVAL_S,
    INGEST_SHARDS,
    build_add_pictures,
    build_daily_refresh,
    build_discover_shards,
    build_refresh_job,
)
from laion_assets.counts.checks import build_checks, counts_add_up, site_counts_add_up
from laion_assets.counts.domain_counts import domain_counts
from laion_assets.counts.entity_counts import build_entity_counts_asset
from laion_assets.counts.site_counts import site_counts
from laion_assets.curation.curation_file import reads_pictures
from laion_assets.curation.resource import CurationFile
from laion_assets.declared_columns.asset import build_declared_columns_asset
from laion_assets.embeddings.asset import build_embeddings_asset
from laion_assets.embeddings.checks import vectors_have_unit_length
from laion_assets.embeddings.resource import EmbeddingRules
from laion_assets.exports.asset import datasette
from laion_assets.exports.resource import ExportFiles
from laion_assets.images.asset import images
from laion_assets.images.checks import (
    MOSTLY_ACCEPTED,
    ROWS_ACCOUNTED,
    columns_as_documented,
    few_repeats,
    scores_in_range,
    shares_like_other_shards,
)
from laion_assets.lance_images.asset import lance_images
from laion_assets.lance_images.checks import equals_duckdb
from laion_assets.names.asset import build_names_asset
from laion_assets.names.resource import SheetSource
from laion_assets.orchestration.check_steps import build_check_steps
from laion_assets.pictures.asset import pictures
from laion_assets.pictures.checks import (
    picture_md5_agree,
    picture_sizes_agree,
    pictures_came_as_of_other_shards,
    pictures_decode,
)
from laion_assets.pictures.resource import PictureRules
from laion_assets.publishing.asset import published
from laion_assets.publishing.resource import PublishRules
from laion_assets.raw_shards.asset import raw_shards
from laion_assets.raw_shards.resource import ShardSource
from laion_assets.raw_shards.source_asset import SOURCE_SHARDS
from laion_assets.releases.asset import build_release_asset
from laion_assets.releases.checks import (
    counts_equal_duckdb,
    indices_cover_every_row,
    nearest_vectors_are_found,
)
from laion_assets.removals.asset import removals
from laion_assets.removals.checks import entries_kept
from laion_assets.runs.clean_history import build_clean_history, build_daily_cleaning
from laion_assets.settings import Settings
from laion_assets.stores.freed_memory import return_large_blocks
from laion_assets.stores.resources import LanceResource, Warehouse
from laion_assets.subsets.asset import build_subset_asset
from laion_assets.subsets.check_subsets import check_subsets

# Each runs once a refresh, over all shards.
TABLE_CHECKS = (
    columns_as_documented,
    scores_in_range,
    shares_like_other_shards,
    few_repeats,
    equals_duckdb,
    pictures_decode,
    picture_sizes_agree,
    pictures_came_as_of_other_shards,
    picture_md5_agree,
    vectors_have_unit_length,
    counts_add_up,
    site_counts_add_up,
    indices_cover_every_row,
    counts_equal_duckdb,
    nearest_vectors_are_found,
    entries_kept,
)


def build_defs(
    settings: Settings, discovery_interval_s: int = DISCOVERY_INTERVAL_S
) -> dg.Definitions:
    """Returns the assets, jobs, schedule, sensor and resources for these settings."""
    # Runs are executed in the process that asks for this.
    return_large_blocks()
    kinds = tuple(settings.sheets)
    is_computing = settings.embeddings == "compute"
    # What is wrong in the file is said when it is read, and not by the first run.
    curation = CurationFile.build(settings).read()
    check_subsets(curation, kinds)
    subsets = tuple(subset.name for subset in curation.subsets)
    refresh_counts = build_refresh_job(kinds, subsets, is_publishing=settings.publish is not None)
    asset_checks = build_check_steps([*TABLE_CHECKS, *build_checks(kinds)])
    clean_history = build_clean_history(
        {ROWS_ACCOUNTED.key, MOSTLY_ACCEPTED.key}.union(*(c.check_keys for c in asset_checks)),
        settings,
    )
    add_pictures = build_add_pictures(is_computing=is_computing)
    return dg.Definitions(
        assets=[
            SOURCE_SHARDS,
            raw_shards,
            images,
            lance_images,
            pictures,
            build_embeddings_asset(is_computing=is_computing),
            build_declared_columns_asset(
                is_reading_pictures=any(map(reads_pictures, curation.columns))
            ),
            removals,
            domain_counts,
            site_counts,
            *(build_names_asset(kind) for kind in kinds),
            build_entity_counts_asset(kinds),
            build_release_asset(kinds),
            *map(build_subset_asset, curation.subsets),
            datasette,
            *([published] if settings.publish else []),
        ],
        asset_checks=asset_checks,
        jobs=[INGEST_SHARDS, add_pictures, refresh_counts, clean_history],
        schedules=[build_daily_refresh(refresh_counts), build_daily_cleaning(clean_history)],
        sensors=[
            build_discover_shards(
                add_pictures,
                refresh_counts,
                kinds,
                subsets,
                PublishRules.for_releases(settings),
                discovery_interval_s,
            ),
            *_build_alarms(settings),
        ],
        resources=build_resources(settings),
        # DuckDB and Lance use every core inside one process; a process a step would only add
        # seconds of imports to each.
        executor=dg.in_process_executor,
    )


def _build_alarms(settings: Settings) -> list[dg.SensorDefinition]:
    if settings.alert_url is None:
        return []
    return [build_send_alarms(settings.alert_url, settings.web_ui, ("release", *settings.sheets))]


def build_resources(settings: Settings) -> dict[str, dg.ConfigurableResource[object]]:
    """Returns what the assets ask for, by the name under which they ask."""
    return {
        "shards": ShardSource.build(settings),
        "sheets": SheetSource(locations=dict(settings.sheets), removals=settings.removals),
        "warehouse": Warehouse(
            path=str(settings.database),
            bucket=settings.warehouse_bucket or "",
            shares_counts=settings.ray is not None,
        ),
        "picture_rules": PictureRules.build(settings),
        "embedding_rules": EmbeddingRules.build(settings),
        "curation_file": CurationFile.build(settings),
        "lance_store": LanceResource(
            path=str(settings.lance_dir),
            bucket=settings.lance_bucket or "",
            is_shared=settings.ray is not None,
        ),
        "export_files": ExportFiles(datasette=str(settings.datasette_file)),
        **({"publish_rules": rules} if (rules := PublishRules.for_releases(settings)) else {}),
    }


@dg.definitions
def defs() -> dg.Definitions:
    """Returns the definitions for the settings of the environment."""
    return build_defs(Settings.from_environment())
