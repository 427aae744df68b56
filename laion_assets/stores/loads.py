"""Which load of a shard is in DuckDB, and which of them Lance has."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from laion_assets.schemas import CLEANING_VERSION
from laion_assets.stores.database import Database
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import duckdb

    from laion_assets.stores.raw_store import RawShard


class ShardLoad(NamedTuple):
    """The present load of a shard in DuckDB.

    Attributes:
        load_id: names it.
        sha256: of the file that was loaded.
        image_count: its rows in `images`.
        file_rows: the rows of the file.
    """

    load_id: str
    sha256: str
    image_count: int
    file_rows: int


def read_load(connection: duckdb.DuckDBPyConnection, shard: str) -> ShardLoad | None:
    """Returns the present load of a shard; None if it is not loaded."""
    found = connection.execute(load_sql("stores/select_load"), {"shard": shard}).fetchone()
    return None if found is None else ShardLoad(*found)


def is_loaded(database: Database, raw: RawShard) -> bool:
    """Returns whether the rows of this very file, by the present rules, are in DuckDB and Lance.

    Args:
        database: the tables.
        raw: the record of the shard's verified file.
    """
    if not database.exists():
        return False
    parameters = {
        "shard": raw.shard,
        "sha256": raw.sha256,
        "removed_count": len(raw.list_removed()),
        "cleaning_version": CLEANING_VERSION,
    }
    with database.read() as connection:
        ((is_there,),) = connection.execute(load_sql("images/is_loaded"), parameters).fetchall()
    return bool(is_there)


def find_outdated(database: Database) -> dict[str, str]:
    """Returns the shards that older rules cleaned, to be loaded again, and the id of their load."""
    if not database.exists():
        return {}
    with database.read() as connection:
        rules = {"cleaning_version": CLEANING_VERSION}
        return dict(connection.execute(load_sql("lance_images/select_outdated"), rules).fetchall())


def find_unnoted(database: Database) -> dict[str, str]:
    """Returns the shards whose present load was not copied to Lance yet, and the load's id."""
    if not database.exists():
        return {}
    with database.read() as connection:
        return dict(connection.execute(load_sql("lance_images/select_unnoted")).fetchall())


def list_loaded(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Returns the shards whose rows are in DuckDB."""
    return {shard for (shard,) in connection.execute(load_sql("stores/select_shards")).fetchall()}
