"""The cleaned rows of each shard, in DuckDB."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from laion_assets.images.checks import (
    MOSTLY_ACCEPTED,
    ROWS_ACCOUNTED,
    check_mostly_accepted,
    check_rows_accounted,
    find_main_reason,
)
from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import (
    describe_place,
    describe_table,
    percent,
    show_missing,
    show_rows,
)
from laion_assets.partitions import SHARDS
from laion_assets.raw_shards.resource import ShardSource
from laion_assets.schemas import CLEANING_VERSION, DUCKDB_IMAGES
from laion_assets.stores.resources import LanceResource, Warehouse

if TYPE_CHECKING:
    from laion_assets.images.load import ShardLoad
    from laion_assets.images.profile import ShardProfile
    from laion_assets.stores.raw_store import RawShard


@laion_asset(
    holds="urls-and-captions",
    deps=["raw_shards"],
    partitions_def=SHARDS,
    group_name="shards",
    kinds={"duckdb", "sql"},
    code_version=CLEANING_VERSION,
    metadata={**describe_table("images", DUCKDB_IMAGES), "partition_expr": "shard"},
    check_specs=[ROWS_ACCOUNTED, MOSTLY_ACCEPTED],
)
def images(
    context: dg.AssetExecutionContext,
    shards: ShardSource,
    warehouse: Warehouse,
    lance_store: LanceResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster refuses [None] beside checks
    """The usable rows of the shard, in the DuckDB table `images`.

    A row is rejected only if its URL is missing or names no host, its caption is missing, or it is
    on the list of removals; it then stands in `rejected_images` with the reason, so that both
    tables together have every row of the file. Repeated rows stay. The shard is replaced in one
    transaction: a reader sees its old rows or its new ones.

    ```sql
    SELECT domain, count(*) FROM images WHERE aesthetic > 7 GROUP BY domain ORDER BY 2 DESC LIMIT 20
    ```
    """
    from laion_assets.images.load import DEPENDENT_TABLES, load_shard
    from laion_assets.images.profile import profile_shard
    from laion_assets.images.raw_elsewhere import bring_if_elsewhere
    from laion_assets.images.removed_rows import check_same_list, take_out_removed
    from laion_assets.images.soundness import account_shard
    from laion_assets.images.space import check_load_space
    from laion_assets.stores.own_columns import check_table

    store, shard = shards.store, context.partition_key
    bring_if_elsewhere(shards, warehouse.database, lance_store.store, shard)
    # The copy to Lance would fail, and leave the load half done.
    check_table(lance_store.store)
    removals = lance_store.store.removals.read()
    take_out_removed(store, store.read(shard), removals)
    with warehouse.database.write(*DEPENDENT_TABLES, shards=[shard]) as connection:
        check_same_list(lance_store.store, removals)
        raw = store.read(shard)
        check_load_space(raw, store.path(shard), warehouse.database.path)
        load = load_shard(connection, raw, store.path(shard), context.run.run_id)
        store.check_unchanged(raw)
        profile = profile_shard(connection, raw.shard)
        account = account_shard(connection, raw.shard, raw.file_rows)
    if reason := find_main_reason(load.rejected, raw.file_rows):
        context.log.warning(
            f"{raw.source}: {load.rejected[reason]:,} of {raw.file_rows:,} rows are rejected as "
            f"{reason}; compare its columns on the page of `raw_shards` with the source"
        )
    return dg.MaterializeResult(
        metadata=_describe(raw, load, profile),
        check_results=[
            check_rows_accounted(raw.shard, account),
            check_mostly_accepted(raw.shard, load.rejected, raw.file_rows),
        ],
    )


def _describe(raw: "RawShard", load: "ShardLoad", profile: "ShardProfile") -> dict[str, Any]:
    """Returns what the page shows of a shard, in the order in which it does."""
    from laion_assets.images.load import REASONS

    images, lengths = profile.image_count, profile.caption_lengths
    rejected = sum(load.rejected.values())
    reason = find_main_reason(load.rejected, raw.file_rows)
    return {
        "dagster/partition_row_count": images,
        "rejected": rejected,
        **({"mostly_rejected_as": reason} if reason else {}),
        "percent_rejected": percent(rejected, raw.file_rows),
        "percent_repeated": percent(profile.repeated, images),
        "percent_non_ascii_captions": percent(profile.non_ascii, images),
        "domains": profile.domain_count,
        "caption_length_median": lengths.median,
        "caption_length_p05": lengths.p05,
        "caption_length_p95": lengths.p95,
        "caption_length_longest": lengths.longest,
        "source": describe_place(raw.source),
        # Tables take the most room.
        "top_domains": show_rows(profile.top_domains),
        **{f"{score}_scores": show_rows(h) for score, h in profile.score_histograms.items()},
        **({"rejection_examples": show_rows(profile.rejection_examples)} if rejected else {}),
        "missing_values": show_missing(profile.missing, images),
        "preview": show_rows(profile.first_rows),
        # For those who look for them.
        **{f"rejected_{reason}": load.rejected.get(reason, 0) for reason in REASONS},
        "repeated": profile.repeated,
        "repaired": load.repaired_count,
        "file_rows": raw.file_rows,
        "bytes": raw.file_bytes,
        "sha256": raw.sha256,
    }
