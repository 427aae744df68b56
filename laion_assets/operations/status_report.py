"""What `laion status` says, as one record: for people as a table, for programs as JSON.

It is read from the tables, and from Dagster's history as long as that can be read: a full disk and
a read-only one leave the rest of the answer.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from laion_assets.releases.manifest import OutdatedShard, Record
from laion_assets.stores.lance_store import LanceStore
from laion_assets.subsets.subset_states import SubsetStatus, read_subsets_status

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.runs.due import Due
    from laion_assets.runs.status import Load
    from laion_assets.settings import Settings

# A run on its way is neither behind nor failed, and a table that was left harms nobody.
SOUND_STATES = frozenset({"done", "running", "no release", "not declared"})


class ShardStatus(Record):
    """A shard, as `laion status` shows it.

    Attributes:
        shard: partition key.
        state: done, failed, running, part done, behind, missing or no partition.
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
        outdated: shards whose present load it does not have, because Lance did not.
        gaps: declared columns that it does not have of every shard, a line each.
    """

    release: str
    released_at: datetime
    image_count: int
    shard_count: int
    lance_version: int
    sample_count: int
    outdated: tuple[OutdatedShard, ...]
    gaps: tuple[str, ...] = ()


class ListStatus(Record):
    """A list of names.

    Attributes:
        kind: such as `artists`.
        name_header: header of the column of names.
        name_count: names in it.
        unmatched_count: names that are in no caption; 0 before they are counted.
    """

    kind: str
    name_header: str
    name_count: int
    unmatched_count: int


class Status(Record):
    """The state of everything.

    Attributes:
        is_sound: whether nothing is behind, failed or unreadable.
        is_release_behind: whether the counts or the release do not have the shards as they are.
        without_pictures: shards that bring pictures which Lance does not have yet.
        problems: what could not be read, a line each.
        delays: why something is not done, and what becomes of it, a line each.
        new_count: shards of the sources on this machine that are no partition yet.
        shards: by name.
        totals: rows of the tables that describe all shards together.
        lists: the lists of names, by kind.
        release: the newest one; None if there is none.
        subsets: those that are declared, and tables of those that were.
        unpublished: the newest release, if it is not where `LAION_PUBLISH` says.
        unread: the lists that could not be read, and why; their names are those of before.
        free_bytes: free space of the disk of the data and of the disk of the history.
    """

    is_sound: bool
    is_release_behind: bool
    without_pictures: tuple[str, ...]
    problems: tuple[str, ...]
    delays: tuple[str, ...]
    new_count: int
    shards: tuple[ShardStatus, ...]
    totals: Mapping[str, int]
    lists: tuple[ListStatus, ...]
    release: ReleaseStatus | None
    subsets: tuple[SubsetStatus, ...]
    unpublished: str | None
    unread: Mapping[str, str]
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
    from laion_assets.curation.place import CurationError
    from laion_assets.curation.resource import CurationFile
    from laion_assets.operations.removal import find_places
    from laion_assets.partitions import SHARDS_NAME
    from laion_assets.publishing.resource import PublishRules
    from laion_assets.runs.status import (
        find_unpublished,
        find_unread_lists,
        look_around,
        read_delays,
        read_due,
        read_loads,
        read_states,
        read_totals,
    )

    loads = read_loads(settings)
    shards = instance.get_dynamic_partitions(SHARDS_NAME) if instance else sorted(loads)
    found = look_around(settings, shards)
    problems = [problem] if problem else []
    try:
        curation = CurationFile.build(settings).read()
    except CurationError as error:
        curation = None
        problems.append(str(error))
    due = read_due(settings, shards, found, curation)
    states = read_states(instance, shards, loads, due)
    left = {}
    delays: list[str] = []
    unread: Mapping[str, str] = {}
    if instance:
        rules = PublishRules.for_releases(settings)
        unpublished = find_unpublished(instance, LanceStore.of(settings), rules)
        due = replace(due, unpublished=unpublished)
        places = find_places(settings, instance)
        left = {shard: where for shard, where in places.items() if shard not in states}
        failed = [shard for shard, state in states.items() if state == "failed"]
        unread = find_unread_lists(instance, (*settings.sheets, "removals"))
        delays = [delay.describe() for delay in read_delays(instance, due, unread, failed)]
    delays += _describe_returning(settings, due)
    states |= dict.fromkeys(left, "no partition")
    is_sound = all(state in SOUND_STATES for state in states.values())
    subsets = read_subsets_status(LanceStore.of(settings), curation.subsets) if curation else ()
    is_sound = is_sound and all(subset.state in SOUND_STATES for subset in subsets)
    is_sound = is_sound and not (due.unpublished or unread)
    return Status(
        is_sound=is_sound and not (due.is_behind or due.unpictured or problems),
        is_release_behind=due.is_behind,
        without_pictures=tuple(due.unpictured),
        problems=tuple(problems),
        delays=tuple(delays),
        new_count=len(found.new) if instance else 0,
        shards=tuple(
            _describe(shard, states[shard], loads.get(shard), left.get(shard, ()))
            for shard in sorted(states)
        ),
        totals=read_totals(settings),
        lists=_read_lists(settings),
        release=_read_release(settings),
        subsets=subsets,
        unpublished=due.unpublished,
        unread=unread,
        free_bytes=_measure_free(settings),
    )


def _describe(shard: str, state: str, load: Load | None, left_in: Iterable[str]) -> ShardStatus:
    return ShardStatus(
        shard=shard,
        state=state,
        image_count=load.image_count if load else None,
        rejected_count=load.rejected_count if load else None,
        loaded_at=load.loaded_at if load else None,
        is_sample=bool(load and load.is_sample),
        left_in=tuple(left_in),
    )


def _describe_returning(settings: Settings, due: Due) -> list[str]:
    """Says of which shards rows came off the list of removals, and what brings them back."""
    from laion_assets.removals.apply_list import list_returning
    from laion_assets.stores.raw_store import RawStore

    store = RawStore(settings.raw_dir)
    ways = {
        True: "`laion backfill --missing` brings them back",
        False: "only the file of its source brings them back, and it is not on this machine: "
        "`laion backfill --missing` asks servers for it",
    }
    return [
        f"{shard}: rows of it came off the list of removals; {ways[shard in due.steps]}"
        for shard in list_returning(store)
    ]


def _read_lists(settings: Settings) -> tuple[ListStatus, ...]:
    from laion_assets.stores.database import Database
    from laion_assets.stores.rows import fetch_rows
    from laion_assets.stores.sql import load_sql

    if not Database.of(settings).exists():
        return ()
    with Database.of(settings).read() as connection:
        found = fetch_rows(connection.execute(load_sql("counts/summarize_lists")))
    return tuple(ListStatus.model_validate(record) for record in found.records)


def _read_release(settings: Settings) -> ReleaseStatus | None:
    from laion_assets.releases.catalog import newest_release

    newest = newest_release(LanceStore.of(settings))
    if newest is None:
        return None
    return ReleaseStatus(
        release=newest.release,
        released_at=newest.released_at,
        image_count=newest.row_counts["images"],
        shard_count=len(newest.shards),
        lance_version=newest.lance_versions["images"],
        sample_count=newest.sample_count,
        outdated=newest.outdated,
        gaps=tuple(gap for column in newest.declared if (gap := column.describe_gap())),
    )


def _measure_free(settings: Settings) -> dict[str, int]:
    folders = {"data": settings.data_dir, "history": settings.history_dir}
    return {
        what: shutil.disk_usage(folder).free for what, folder in folders.items() if folder.is_dir()
    }
