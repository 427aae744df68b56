"""Events of the external asset `source_shards`: what became new, and what changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

SOURCE_SHARDS_KEY = dg.AssetKey("source_shards")


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
