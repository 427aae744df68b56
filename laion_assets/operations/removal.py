"""Removes shards for good: their partitions, and then all that the stores have of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.errors import LaionError
from laion_assets.operations.traces import find_traces, remove_traces
from laion_assets.orchestration.dead_runs import list_unfinished
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.partitions import SHARDS_NAME
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore

if TYPE_CHECKING:
    from laion_assets.settings import Settings


def find_places(settings: Settings, instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Returns for each shard the places that have something of it, `partition` among them."""
    places = find_traces(Database.of(settings), LanceStore.of(settings), RawStore(settings.raw_dir))
    for shard in instance.get_dynamic_partitions(SHARDS_NAME):
        places.setdefault(shard, []).append("partition")
    return places


def remove_shards(
    settings: Settings,
    instance: dg.DagsterInstance,
    shards: Collection[str],
    files: Iterable[Path] = (),
) -> None:
    """Removes these shards, and these files of theirs at the source; what else there is stays.

    The files and the partitions go first, so that nothing loads a shard again between two steps.
    What a crash leaves then has no partition: `laion status` names it, and the same call removes
    it.

    Raises:
        LaionError: a run of one of them is on its way; nothing was removed.
    """
    _check_idle(instance, shards)
    for file in files:
        file.unlink(missing_ok=True)
    for shard in shards:
        instance.delete_dynamic_partition(SHARDS_NAME, shard)
    remove_traces(
        Database.of(settings),
        LanceStore.of(settings),
        RawStore(settings.raw_dir),
        shards,
    )


def find_sources(settings: Settings, shards: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Returns where `LAION_SHARDS` still has these shards, and what could not be listed."""
    from laion_assets.raw_shards.resource import ShardSource
    from laion_assets.raw_shards.sources.listing import list_shards

    source = ShardSource.open(settings)
    listing = list_shards(source.locations, source.rules.hurried)
    names = {shard: found.name for shard, found in listing.sources.items() if shard in shards}
    return names, listing.unlisted


def _check_idle(instance: dg.DagsterInstance, shards: Collection[str]) -> None:
    for run in list_unfinished(instance):
        if (shard := run.tags.get(PARTITION_TAG)) in shards:
            raise LaionError(
                f"shard {shard!r}: run {run.run_id} of it has not ended; wait for it or terminate "
                "it in the web UI, then remove the shard again",
                code="shard-has-a-run",
            )
