"""The shards where they come from: not made here, but seen, so that the graph begins there."""

import dagster as dg

from laion_assets.page import OWNERS
from laion_assets.partitions import SHARDS
from laion_assets.source_events import SOURCE_SHARDS_KEY

SOURCE_SHARDS = dg.AssetSpec(
    SOURCE_SHARDS_KEY,
    partitions_def=SHARDS,
    group_name="sources",
    kinds={"parquet"},
    owners=OWNERS,
    tags={"holds": "urls-and-captions"},
    description=(
        "The parquet files that `LAION_SHARDS` names. Nothing here writes them: an event is noted "
        "when `discover_shards` or `laion discover` finds a new shard or a changed one. The data "
        "version stands for the content, as far as the source tells it.\n\n"
        "```sh\nlaion discover\n```"
    ),
)
