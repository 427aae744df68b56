"""The pictures of each shard, in Lance."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import describe_table, percent, show_rows, show_shares
from laion_assets.partitions import SHARDS
from laion_assets.pictures.resource import PictureRules
from laion_assets.raw_shards.resource import ShardSource
from laion_assets.schemas import PICTURES
from laion_assets.stores.resources import LanceResource, Warehouse

if TYPE_CHECKING:
    from laion_assets.pictures.fetch_missing import Fetching

# To it the command line listens, too.
LOGGER = logging.getLogger(__name__)


class PicturesConfig(dg.Config):
    """How a run treats what did not come before."""

    is_retry: bool = Field(
        default=False,
        description="Ask again for pictures that may be had now: after a time-out, a full server.",
    )


@laion_asset(
    holds="pictures",
    deps=["lance_images"],
    partitions_def=SHARDS,
    group_name="shards",
    kinds={"lance", "duckdb"},
    code_version="1",
    metadata={**describe_table("pictures", PICTURES), "partition_expr": "shard"},
    output_required=False,
)
def pictures(
    context: dg.AssetExecutionContext,
    config: PicturesConfig,
    shards: ShardSource,
    picture_rules: PictureRules,
    warehouse: Warehouse,
    lance_store: LanceResource,
) -> Iterator[dg.MaterializeResult[None]]:
    """The pictures of the shard, in the Lance table `images`.

    They come from a column of the shard (`image`, `jpg`, `jpeg`, `png`, `webp`), or from
    `<shard>.tar` beside it. Each is decoded once: one that cannot be is left out, and the table
    `pictures` in DuckDB says why. A row whose picture the shard does not bring keeps the one that
    it had. With `LAION_PICTURES=fetch` the others are fetched from their URLs, made smaller, and
    kept in a cache, so that no URL is asked twice. All come in one commit, which leaves the other
    columns and the indices as they are.

    ```python
    images = lance.dataset("data/lance/images.lance")
    images.take([0, 1, 2], columns=["caption", "image"])
    ```
    """
    from laion_assets.images.raw_elsewhere import bring_if_elsewhere
    from laion_assets.pictures.add_pictures import add_pictures, note_asked
    from laion_assets.pictures.fetch_missing import fetch_missing
    from laion_assets.removals.matching import Matcher
    from laion_assets.stores.raw_store import RawStore
    from laion_assets.stores.shard_chunks import ShardChunks, remove_chunks

    if picture_rules.mode == "none":
        context.log.warning("LAION_PICTURES is `none`, so no pictures are kept")
        return
    database, store, shard = warehouse.database, lance_store.store, context.partition_key
    bring_if_elsewhere(shards, database, store, shard)
    raws, run_id = RawStore(Path(shards.raw_dir)), context.run.run_id
    is_fetching = picture_rules.mode == "fetch"
    cache = picture_rules.open_cache() if is_fetching else None
    fetching = None
    if cache is not None:
        chunks = ShardChunks.of(store, shard, "pictures", cache.size_name)
        cache = replace(cache, chunks=chunks)

    def tell(how_far: str) -> None:
        LOGGER.info("%s: %s", shard, how_far)

    with ExitStack() as stack:
        if cache is not None:
            stack.enter_context(cache.use())
            if known := sum(map(len, cache.take_chunks())):
                tell(f"goes on from {known:,} URLs that were asked before")
        note = add_pictures(database, store, raws, shard, run_id, cache)
        if cache is not None:
            fetching = fetch_missing(
                database,
                cache,
                shard,
                replace(picture_rules.fetch_rules, removed=Matcher.of(store.removals.read())),
                tell,
                max_punsafe=picture_rules.max_punsafe,
                is_retry=config.is_retry,
            )
            tell(fetching.describe())
            if fetching.reasons:
                note = add_pictures(database, store, raws, shard, run_id, cache, is_asked=True)
            else:
                note = note_asked(database, note)
            remove_chunks(store, [shard], "pictures")
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(note.digest),
        metadata={
            "lance_version": note.lance_version,
            "bytes": note.data_bytes,
            "made_from": note.made_from,
            **_describe(warehouse, lance_store, shard),
            **(_describe_fetch(warehouse, shard, fetching) if fetching else {}),
        },
    )


def _describe(warehouse: Warehouse, lance_store: LanceResource, shard: str) -> dict[str, Any]:
    """Returns what the page shows of a shard's pictures."""
    from laion_assets.pictures.sample_strip import draw_samples
    from laion_assets.stores.rows import read_rows
    from laion_assets.stores.sql import load_sql

    with warehouse.database.read() as connection:
        statuses = read_rows(connection, load_sql("pictures/count_statuses"), {"shard": shard})
        errors = read_rows(connection, load_sql("pictures/select_errors"), {"shard": shard})
    counts = {str(r["status"]): int(str(r["row_count"])) for r in statuses.records}
    rows = sum(counts.values())
    strip = draw_samples(warehouse.database, lance_store.store, shard)
    samples = {"samples": dg.MetadataValue.md(f"![Eight pictures]({strip})")} if strip else {}
    return {
        "dagster/partition_row_count": rows,
        "pictures": counts.get("success", 0),
        "percent_with_picture": percent(counts.get("success", 0), rows),
        **samples,
        "statuses": show_rows(statuses),
        **({"errors": show_rows(errors)} if errors.records else {}),
    }


def _describe_fetch(warehouse: Warehouse, shard: str, fetching: "Fetching") -> dict[str, Any]:
    """Returns what the page shows of a fetch, and of all that was fetched for a shard."""
    from laion_assets.pictures.fetching.rules import REFUSALS
    from laion_assets.stores.rows import read_rows
    from laion_assets.stores.sql import load_sql

    values = {"shard": shard, "refusals": [reason.value for reason in REFUSALS]}
    with warehouse.database.read() as connection:
        reasons = read_rows(connection, load_sql("pictures/count_reasons"), {"shard": shard})
        sites = read_rows(connection, load_sql("pictures/count_dead_sites"), values)
    shares = [
        (str(r["registered_domain"]), float(str(r["dead_percent"])), f"of {int(str(r['asked'])):,}")
        for r in sites.records
    ]
    return {
        "urls_asked": fetching.reasons.total(),
        "pictures_per_second": round(fetching.pictures_per_second, 1),
        "reasons": show_rows(reasons),
        "dead_by_site": show_rows(sites),
        "link_rot": show_shares(shares),
    }
