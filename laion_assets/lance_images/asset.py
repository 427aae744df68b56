"""The shard's rows in the versioned Lance table."""

import dagster as dg

from laion_assets.orchestration.assets import laion_asset
from laion_assets.orchestration.metadata import describe_table
from laion_assets.partitions import SHARDS
from laion_assets.schemas import LANCE_IMAGES
from laion_assets.stores.resources import LanceResource, Warehouse


@laion_asset(
    holds="urls-and-captions",
    deps=["images"],
    partitions_def=SHARDS,
    group_name="shards",
    kinds={"lance", "arrow"},
    code_version="1",
    metadata={**describe_table("images.lance", LANCE_IMAGES), "partition_expr": "shard"},
)
def lance_images(
    context: dg.AssetExecutionContext, warehouse: Warehouse, lance_store: LanceResource
) -> dg.MaterializeResult[None]:
    """The shard's rows of `images` in the Lance table `images`, value for value.

    The shard is replaced in one commit, so every version of the table has it whole or not at all;
    the commit says which load of which file it holds.

    ```python
    lancedb.connect("data/lance").open_table("images").search("red fox").limit(10).to_list()
    ```
    """
    from laion_assets.counts.refresh import count_names_of_shard
    from laion_assets.errors import LaionError
    from laion_assets.lance_images.copy import copy_shard

    commit = copy_shard(
        warehouse.database, lance_store.store, context.partition_key, context.run.run_id
    )
    if warehouse.database.is_shared:
        # Every machine counts what it loads; on one machine the refresh counts as fast.
        try:
            count_names_of_shard(warehouse.database, context.partition_key)
        except LaionError as error:
            context.log.warning(f"{error}; the refresh counts the names of this shard")
    lost = [loss.describe() for loss in commit.losses]
    for line in lost:
        context.log.warning(line)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": commit.row_count,
            "lance_version": commit.version,
            "fragments": commit.fragment_count,
            "bytes": commit.data_bytes,
            "sha256": commit.properties["sha256"],
            "own_columns": "; ".join(lost) or "none",
        },
    )
