"""Removes shards from DuckDB, from Lance and from the folder of raw files.

DuckDB is first: a copy to Lance that runs meanwhile holds the lock of the shard, and one that comes
later finds nothing to copy. Each step is one transaction, one commit or one file, and does nothing
where it was done before. So after a crash at any moment the same call finishes the work, and until
then `find_traces` names what is left.
"""

from __future__ import annotations

from collections.abc import Collection

from laion_assets.counts.refresh import COUNT_TABLES, clear_counts
from laion_assets.images.load import DEPENDENT_TABLES, delete_shard
from laion_assets.lance_images.table import list_shards, remove_shards
from laion_assets.stores.columns import forget_shard
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import list_loaded
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.shard_chunks import remove_chunks
from laion_assets.stores.sql import load_sql


def find_traces(database: Database, store: LanceStore, raw_store: RawStore) -> dict[str, list[str]]:
    """Returns the places that have something of a shard, for each shard that any place has."""
    dataset = store.find("images")
    places = {
        "DuckDB": _read_loaded(database),
        "Lance": set() if dataset is None else list_shards(dataset),
        "raw copy": raw_store.list_shards(),
    }
    shards = sorted(set().union(*places.values()))
    return {shard: [place for place, has in places.items() if shard in has] for shard in shards}


def remove_traces(
    database: Database, store: LanceStore, raw_store: RawStore, shards: Collection[str]
) -> None:
    """Removes the shards from every place; the tables of counts are emptied if none is left."""
    if database.exists():
        tables = (*DEPENDENT_TABLES, "shard_columns", "pictures", *COUNT_TABLES)
        with database.write(*tables, shards=shards) as connection:
            for shard in shards:
                delete_shard(connection, shard)
                forget_shard(connection, shard)
                connection.execute(load_sql("pictures/delete_pictures"), {"shard": shard})
            if not list_loaded(connection):
                clear_counts(connection)
    if store.find("images") is not None:
        with store.lock_shards(shards):
            remove_shards(store, "images", shards)
    remove_chunks(store, shards)
    for shard in shards:
        raw_store.remove(shard)


def _read_loaded(database: Database) -> set[str]:
    if not database.exists():
        return set()
    with database.read() as connection:
        return list_loaded(connection)
