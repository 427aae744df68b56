"""What is known of each shard, from DuckDB and from Dagster's history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.partitions import SHARDS
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore

if TYPE_CHECKING:
    from laion_assets.curation.curation_file import Curation
    from laion_assets.publishing.resource import PublishRules
    from laion_assets.raw_shards.discovery import Discovery
    from laion_assets.runs.due import Due, Step
    from laion_assets.settings import Settings

SHARD_ASSETS = ("raw_shards", "images", "lance_images")


@dataclass(frozen=True)
class Load:
    """A shard as DuckDB has it.

    Attributes:
        image_count: rows in `images`.
        rejected_count: rows in `rejected_images`.
        loaded_at: when, in UTC.
        is_sample: whether its rows are invented.
    """

    image_count: int
    rejected_count: int
    loaded_at: datetime
    is_sample: bool = False


def read_loads(settings: Settings) -> dict[str, Load]:
    """Returns the shards in DuckDB."""
    from laion_assets.stores.database import Database
    from laion_assets.stores.sql import load_sql

    if not Database.of(settings).exists():
        return {}
    with Database.of(settings).read() as connection:
        rows = connection.execute(load_sql("runs/select_loads")).fetchall()
    return {
        shard: Load(images, rejected, loaded_at.astimezone(UTC), is_sample)
        for shard, images, rejected, loaded_at, is_sample in rows
    }


def read_due(
    settings: Settings, shards: Sequence[str], found: Discovery, curation: Curation | None
) -> Due:
    """Returns what has to be done for these shards, by everything that is known of them."""
    from laion_assets.runs.due import Wishes, compare_stages, read_chain
    from laion_assets.stores.database import Database

    rest = [shard for shard in shards if shard not in found.raws]
    raws = found.raws | RawStore(settings.raw_dir).find_all(rest)
    sources = {shard: s for shard, s in found.sources.items() if shard in shards}
    raws = {shard: raw for shard, raw in raws.items() if shard in shards}
    database = Database.of(settings)
    store, kinds = LanceStore.of(settings), tuple(settings.sheets)
    wishes = Wishes(
        is_embedding=settings.embeddings != "none",
        is_computing=settings.embeddings == "compute",
        is_picturing=settings.pictures != "none",
        is_fetching=settings.pictures == "fetch",
        curation=curation,
    )
    return compare_stages(read_chain(database, store, kinds, raws, sources, wishes=wishes))


def look_around(settings: Settings, shards: Collection[str]) -> Discovery:
    """Returns what the folders on this machine have; no server is asked or listed."""
    from laion_assets.raw_shards.discovery import discover
    from laion_assets.raw_shards.sources.source import SourceRules, split_scheme

    near = [location for location in settings.shards if not split_scheme(location)]
    return discover(near, RawStore(settings.raw_dir), SourceRules(), shards, is_asking=False)


def read_states(
    instance: dg.DagsterInstance | None,
    shards: Sequence[str],
    loads: Collection[str],
    due: Due,
) -> dict[str, str]:
    """Returns the state of each shard: done, failed, running, part done, behind or missing.

    The tables and files say what is there; Dagster's history says how the last attempt ended.
    """
    by_asset = [
        instance.get_status_by_partition(dg.AssetKey(asset), shards, SHARDS) or {}
        for asset in SHARD_ASSETS
        if instance
    ]
    attempts = {
        shard: frozenset(_name(statuses.get(shard)) for statuses in by_asset) for shard in shards
    }
    return {
        shard: _state(attempts[shard], due.steps.get(shard), is_loaded=shard in loads)
        for shard in shards
    }


@dataclass(frozen=True)
class Delay:
    """Why something is not done, and what becomes of it.

    Attributes:
        name: a shard, or `refresh_counts`.
        reason: why its last run failed; None if none did.
        plan: what the sensor does about it; None if it is not on or knows nothing of it.
    """

    name: str
    reason: str | None
    plan: str | None

    def describe(self) -> str:
        """Returns it in one line."""
        facts = [fact for fact in (self.reason, self.plan) if fact]
        return f"{self.name}: {'; '.join(facts)}"


def read_delays(
    instance: dg.DagsterInstance,
    due: Due,
    unread: Collection[str],
    failed: Iterable[str] = (),
) -> list[Delay]:
    """Returns why what is due is not done yet, as far as a run or the sensor says.

    Args:
        instance: knows the runs.
        due: what has to be done, without asking a server.
        unread: the lists that could not be read.
        failed: shards whose last run failed; what those of servers need is not in `due`.
    """
    from laion_assets.runs.run_failures import find_failure
    from laion_assets.runs.tick import REFRESH_NAME, list_work, name_job, read_memory

    memory = read_memory(instance)
    work = list_work(due, unread)
    delays = []
    for name in dict.fromkeys([*work, *failed]):
        attempts = memory.find_attempts(name, work.get(name)) if memory else []
        job = name_job(due, name)
        failure = find_failure(instance, job, None if job == REFRESH_NAME else name)
        if failure or attempts:
            plan = attempts[-1].describe() if attempts else None
            delays.append(Delay(name, failure.reason if failure else None, plan))
    return delays


def find_unread_lists(instance: dg.DagsterInstance, kinds: Sequence[str]) -> dict[str, str]:
    """Returns the lists of names that the last refresh could not read, and why, by kind."""
    from laion_assets.names.asset import LIST_READ

    keys = [dg.AssetCheckKey(dg.AssetKey(kind), LIST_READ) for kind in kinds]
    storage = instance.event_log_storage
    unread = {}
    for key, record in storage.get_latest_asset_check_execution_by_key(keys).items():
        evaluation = record.event.dagster_event if record.event else None
        if evaluation and evaluation.event_type_value == "ASSET_CHECK_EVALUATION":
            result = evaluation.asset_check_evaluation_data
            if not result.passed:
                reason = result.metadata.get("reason")
                unread[key.asset_key.to_user_string()] = str(reason.value if reason else "")
    return unread


def find_unpublished(
    instance: dg.DagsterInstance, store: LanceStore, rules: PublishRules | None
) -> str | None:
    """Returns the newest release if it was not published where it is to be; None if it was.

    The place itself is not asked: it may be far away.

    Args:
        instance: knows what was published.
        store: has the releases.
        rules: where to; None: nowhere.
    """
    from laion_assets.releases.catalog import list_tags, newest_release
    from laion_assets.runs.tick import PUBLISHED

    newest = newest_release(store) if rules else None
    if rules is None or newest is None:
        return None
    entry = instance.get_latest_materialization_event(PUBLISHED)
    made = entry.asset_materialization if entry else None
    if entry is None or made is None or made.metadata["place"].value != rules.name_place():
        return newest.release
    release = made.metadata["release"].value
    # One that was published and deleted later is newer than those that are left.
    is_deleted = (
        release not in list_tags(store)["images"]
        and entry.timestamp > newest.released_at.timestamp()
    )
    return None if release == newest.release or is_deleted else newest.release


def read_totals(settings: Settings) -> Mapping[str, int]:
    """Returns the rows of the tables that tell of all shards together."""
    from laion_assets.stores.database import Database
    from laion_assets.stores.sql import load_sql

    if not Database.of(settings).exists():
        return {}
    with Database.of(settings).read() as connection:
        return dict(connection.execute(load_sql("runs/select_totals")).fetchall())


def _name(status: object) -> str:
    return str(getattr(status, "name", "MISSING"))


def _state(attempts: frozenset[str], step: Step | None, *, is_loaded: bool) -> str:
    if "FAILED" in attempts:
        return "failed"
    if "IN_PROGRESS" in attempts:
        return "running"
    if not is_loaded:
        return "missing"
    if step is None:
        return "done"
    return "part done" if step.stage in {"copy", "embed", "declare"} else "behind"
