"""What `laion status` says, as one record: for people as a table, for programs as JSON.

It is read from the tables, and from Dagster's history as long as that can be read: a full disk and
a read-only one leave the rest of the answer.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from laion_assets.lib.manifest import Record

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.settings import Settings
    from laion_assets.status import Load

# A run on its way is neither behind nor failed.
SOUND_STATES = frozenset({"done", "running"})


class ShardStatus(Record):
    """A shard, as `laion status` shows it.

    Attributes:
        shard: partition key.
        state: done, failed, running, part done, outdated, missing or no partition.
        image_count: rows in `images`; None if it is not loaded.
        rejected_count: rows in `rejected_images`; None if it is not loaded.
        loaded_at: when, in UTC; None if it is not loaded.
        is_sample: whether its rows are invented.
        left_in: the places that still have something of it, if it has no partition.
    """

    shard: str
    state: str
    image_count: int | None
    rejected_count: int | None
    loaded_at: datetime | None
    is_sample: bool
    left_in: tuple[str, ...]


class ReleaseStatus(Record):
    """The newest release.

    Attributes:
        release: its tag.
        released_at: when, in UTC.
        image_count: rows of its table `images`.
        shard_count: shards in it.
        lance_version: the tagged version of `images`.
        sample_count: shards in it whose rows are invented.
    """

    release: str
    released_at: datetime
    image_count: int
    shard_count: int
    lance_version: int
    sample_count: int


class Status(Record):
    """The state of everything.

    Attributes:
        is_sound: whether nothing is behind, failed or unreadable.
        is_release_behind: whether the counts or the release do not have the shards as they are.
        problems: what could not be read, a line each.
        shards: by name.
        totals: rows of the tables that describe all shards together.
        release: the newest one; None if there is none.
        free_bytes: free space of the disk of the data and of the disk of the history.
    """

    is_sound: bool
    is_release_behind: bool
    problems: tuple[str, ...]
    shards: tuple[ShardStatus, ...]
    totals: Mapping[str, int]
    release: ReleaseStatus | None
    free_bytes: Mapping[str, int]


def read_status(
    settings: Settings, instance: dg.DagsterInstance | None, problem: str | None = None
) -> Status:
    """Reads the state of everything.

    Args:
        settings: where the tables are.
        instance: Dagster's history; None if it cannot be read.
        problem: why it cannot be read.
    """
    from laion_assets.lib.database import Database
    from laion_assets.lib.release import find_unreleased
    from laion_assets.status import read_totals

    shards = _read_shards(settings, instance)
    kinds = tuple(settings.sheets)
    is_behind = bool(find_unreleased(Database(settings.database), settings.lance_dir, kinds))
    are_shards_sound = all(shard.state in SOUND_STATES for shard in shards)
    return Status(
        is_sound=are_shards_sound and not is_behind and problem is None,
        is_release_behind=is_behind,
        problems=(problem,) if problem else (),
        shards=shards,
        totals=read_totals(settings),
        release=_read_release(settings),
        free_bytes=_measure_free(settings),
    )


def _read_shards(
    settings: Settings, instance: dg.DagsterInstance | None
) -> tuple[ShardStatus, ...]:
    from laion_assets.partitions import SHARDS_NAME
    from laion_assets.removal import find_places
    from laion_assets.status import read_loads, read_states

    loads = read_loads(settings)
    left: dict[str, list[str]] = {}
    if instance is None:
        states = {shard: _judge(load) for shard, load in loads.items()}
    else:
        shards = instance.get_dynamic_partitions(SHARDS_NAME)
        states = read_states(instance, shards, loads)
        left = {
            s: places for s, places in find_places(settings, instance).items() if s not in states
        }
        states |= dict.fromkeys(left, "no partition")
    return tuple(
        ShardStatus(
            shard=shard,
            state=states[shard],
            image_count=load.image_count if load else None,
            rejected_count=load.rejected_count if load else None,
            loaded_at=load.loaded_at if load else None,
            is_sample=bool(load and load.is_sample),
            left_in=tuple(left.get(shard, ())),
        )
        for shard in sorted(states)
        for load in (loads.get(shard),)
    )


def _judge(load: Load) -> str:
    """Returns the state of a shard by the tables alone."""
    if not load.is_current:
        return "outdated"
    return "done" if load.is_copied else "part done"


def _read_release(settings: Settings) -> ReleaseStatus | None:
    from laion_assets.lib.release import newest_release

    newest = newest_release(settings.lance_dir)
    if newest is None:
        return None
    return ReleaseStatus(
        release=newest.release,
        released_at=newest.released_at,
        image_count=newest.row_counts["images"],
        shard_count=len(newest.shards),
        lance_version=newest.lance_versions["images"],
        sample_count=newest.sample_count,
    )


def _measure_free(settings: Settings) -> dict[str, int]:
    folders = {"data": settings.data_dir, "history": settings.history_dir}
    return {
        what: shutil.disk_usage(folder).free for what, folder in folders.items() if folder.is_dir()
    }
