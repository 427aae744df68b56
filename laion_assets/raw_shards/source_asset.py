"""The shards where they come from: not made here, but seen, so that the graph begins there."""

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from laion_assets.orchestration.assets import OWNERS
from laion_assets.partitions import SHARDS

SOURCE_SHARDS_KEY = dg.AssetKey("source_shards")
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


def describe_changes(
    due: Mapping[str, str], shards: Iterable[str]
) -> Iterator[dg.AssetMaterialization]:
    """Yields an event for each of the shards that is new or has changed.

    Args:
        due: for each shard a text that only its present change has.
        shards: those to tell about.
    """
    for shard in shards:
        if shard in due:
            yield dg.AssetMaterialization(
                SOURCE_SHARDS_KEY,
                partition=shard,
                metadata={"change": due[shard]},
                tags={"dagster/data_version": due[shard]},
            )
