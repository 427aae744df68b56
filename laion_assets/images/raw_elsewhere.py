"""Brings the verified file of a shard that another machine has fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from laion_assets.images.removed_rows import take_out_removed
from laion_assets.raw_shards.fetch import bring_shard

if TYPE_CHECKING:
    from laion_assets.raw_shards.resource import ShardSource
    from laion_assets.stores.database import Database
    from laion_assets.stores.lance_store import LanceStore


def bring_if_elsewhere(
    shards: ShardSource, database: Database, store: LanceStore, shard: str
) -> None:
    """Fetches the file of a shard if it is not here, and the tables are those of several machines.

    Each machine has raw files of its own, and a run may come to another one than the run before.
    Where one machine has all, a file that is not here was never fetched, and nothing is done.

    Args:
        shards: where shards come from, and where their files are.
        database: the tables.
        store: the Lance tables, with the list of removals.
        shard: partition key.

    Raises:
        ShardError: it cannot be had any more.
    """
    if not database.is_shared or shards.store.is_here(shard):
        return
    raw, _ = bring_shard(shards.locations, shard, shards.store, shards.rules)
    take_out_removed(shards.store, raw, store.removals.read())
