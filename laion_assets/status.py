"""What is known of each shard, from DuckDB and from Dagster's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.partitions import SHARDS

if TYPE_CHECKING:
    from laion_assets.settings import Settings

SHARD_ASSETS = ("raw_shards", "images", "lance_images")


@dataclass(frozen=True)
class Load:
    """A shard as DuckDB has it.

    Attributes:
        image_count: rows in `images`.
        rejected_count: rows in `rejected_images`.
        loaded_at: when, in UTC.
        is_copied: whether Lance has it so too.
        is_current: whether the present rules cleaned it; if not it is to be loaded again.
        is_sample: whether its rows are invented.
    """

    image_count: int
    rejected_count: int
    loaded_at: datetime
    is_copied: bool
    is_current: bool = True
    is_sample: bool = False


def read_loads(settings: Settings) -> dict[str, Load]:
    """Returns the shards in DuckDB."""
    from laion_assets.lib.database import Database
    from laion_assets.lib.lance_images import find_uncopied
    from laion_assets.lib.lance_table import open_table, table_path
    from laion_assets.lib.sql import load_sql
    from laion_assets.schemas import CLEANING_VERSION

    if not settings.database.exists():
        return {}
    with Database(settings.database).read() as connection:
        rules = {"cleaning_version": CLEANING_VERSION}
        rows = connection.execute(load_sql("select_loads"), rules).fetchall()
        dataset = open_table(table_path(settings.lance_dir, "images"))
        uncopied = set(find_uncopied(connection, dataset))
    return {
        shard: Load(images, rejected, at.astimezone(UTC), shard not in uncopied, is_current, sample)
        for shard, images, rejected, at, is_current, sample in rows
    }


def read_states(
    instance: dg.DagsterInstance, shards: Sequence[str], loads: Mapping[str, Load]
) -> dict[str, str]:
    """Returns the state of each shard: done, failed, running, part done, outdated or missing.

    What is there is told by the tables; Dagster's history tells of the last attempt.
    """
    by_asset = [
        instance.get_status_by_partition(dg.AssetKey(asset), shards, SHARDS) or {}
        for asset in SHARD_ASSETS
    ]
    attempts = {
        shard: frozenset(_name(statuses.get(shard)) for statuses in by_asset) for shard in shards
    }
    return {shard: _state(attempts[shard], loads.get(shard)) for shard in shards}


def read_totals(settings: Settings) -> Mapping[str, int]:
    """Returns the rows of the tables that tell of all shards together."""
    from laion_assets.lib.database import Database
    from laion_assets.lib.sql import load_sql

    if not settings.database.exists():
        return {}
    with Database(settings.database).read() as connection:
        return dict(connection.execute(load_sql("select_totals")).fetchall())


def _name(status: object) -> str:
    return str(getattr(status, "name", "MISSING"))


def _state(attempts: frozenset[str], load: Load | None) -> str:
    if "FAILED" in attempts:
        return "failed"
    if "IN_PROGRESS" in attempts:
        return "running"
    if load is None:
        return "missing"
    if not load.is_current:
        return "outdated"
    return "done" if load.is_copied else "part done"
