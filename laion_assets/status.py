"""What is known of each shard, from DuckDB and from Dagster's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.partitions import SHARDS

if TYPE_CHECKING:
    from laion_assets.settings import Settings

SHARD_ASSETS = ("raw_shards", "images", "lance_images")


@dataclass(frozen=True)
class Load:
    """A shard as DuckDB has it."""

    image_count: int
    rejected_count: int
    loaded_at: datetime


def read_loads(settings: Settings) -> dict[str, Load]:
    """Returns the shards in DuckDB."""
    from laion_assets.lib.database import Database
    from laion_assets.lib.sql import load_sql

    if not settings.database.exists():
        return {}
    with Database(settings.database).read() as connection:
        rows = connection.execute(load_sql("select_loads")).fetchall()
    return {shard: Load(*load) for shard, *load in rows}


def read_states(instance: dg.DagsterInstance, shards: Sequence[str]) -> dict[str, str]:
    """Returns the state of each shard: done, failed, running, part done or missing."""
    by_asset = [
        instance.get_status_by_partition(dg.AssetKey(asset), shards, SHARDS) or {}
        for asset in SHARD_ASSETS
    ]
    return {shard: _state([statuses.get(shard) for statuses in by_asset]) for shard in shards}


def read_totals(settings: Settings) -> Mapping[str, int]:
    """Returns the rows of the tables that tell of all shards together."""
    from laion_assets.lib.database import Database
    from laion_assets.lib.sql import load_sql

    if not settings.database.exists():
        return {}
    with Database(settings.database).read() as connection:
        return dict(connection.execute(load_sql("select_totals")).fetchall())


def _state(statuses: Sequence[object]) -> str:
    names = [getattr(status, "name", "MISSING") for status in statuses]
    if "FAILED" in names:
        return "failed"
    if "IN_PROGRESS" in names:
        return "running"
    if set(names) == {"MATERIALIZED"}:
        return "done"
    return "part done" if "MATERIALIZED" in names else "missing"
