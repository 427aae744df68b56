"""The verified parquet file of each shard."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import describe_place
from laion_assets.partitions import SHARDS
from laion_assets.raw_shards.resource import ShardSource
from laion_assets.stores.resources import Warehouse

if TYPE_CHECKING:
    from laion_assets.raw_shards.source_columns import SourceColumn


class FetchConfig(dg.Config):
    """How a run treats a shard that has not changed."""

    only_if_changed: bool = Field(
        default=False,
        description="Stop here, and run nothing downstream, if this content is loaded already.",
    )


@laion_asset(
    holds="urls-and-captions",
    deps=["source_shards"],
    partitions_def=SHARDS,
    group_name="shards",
    kinds={"parquet", "file"},
    code_version="1",
    output_required=False,
)
def raw_shards(
    context: dg.AssetExecutionContext,
    config: FetchConfig,
    shards: ShardSource,
    warehouse: Warehouse,
) -> Iterator[dg.MaterializeResult[None]]:
    """The shard's parquet file, as `LAION_SHARDS` names it, at `<data dir>/raw/<shard>.parquet`.

    A local file is linked where the file system allows it; one from a web server, the Hugging Face
    Hub or a bucket is downloaded once, resumed after a break, and not again while it is unchanged.
    A file that is no parquet, cannot be read, or has no URL or caption column is refused, and the
    one before stays; so does one that no source has any more. The data version is the SHA-256 of
    the content.

    ```sql
    SELECT * FROM 'data/raw/train-00000-of-00007-79dce5ed48fccbf6.parquet' LIMIT 10
    ```
    """
    from laion_assets.raw_shards.fetch import bring_shard
    from laion_assets.raw_shards.progress import Progress
    from laion_assets.raw_shards.source_columns import describe_columns
    from laion_assets.stores.loads import is_loaded

    shard, store = context.partition_key, shards.store
    progress = Progress(shard)
    raw, is_gone = bring_shard(shards.locations, shard, store, shards.rules, progress)
    if is_gone:
        context.log.warning(f"no source has {shard} any more; the file from {raw.source} stays")
    if config.only_if_changed and is_loaded(warehouse.database, raw):
        context.log.info(f"{shard} has the content that is loaded; nothing downstream runs")
        return
    columns = describe_columns(store.path(shard))
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(raw.sha256),
        metadata={
            "dagster/partition_row_count": raw.file_rows,
            "dagster/column_schema": _describe_source_columns(columns),
            "columns_not_read": ", ".join(c.name for c in columns if not c.read_as) or "none",
            "bytes": raw.file_bytes,
            "transferred_bytes": progress.transferred_bytes,
            "sha256": raw.sha256,
            "source": describe_place(raw.source),
            "is_source_gone": is_gone,
            "fetched_at": raw.fetched_at,
            "file": dg.MetadataValue.path(store.path(shard)),
        },
    )


def _describe_source_columns(columns: Iterable["SourceColumn"]) -> dg.TableSchema:
    """Returns the columns that a shard's file has, and what becomes of each."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.name,
                type=c.type,
                description=f"Read as `{c.read_as.name}`. {c.read_as.description}"
                if c.read_as
                else "Not read.",
            )
            for c in columns
        ]
    )
