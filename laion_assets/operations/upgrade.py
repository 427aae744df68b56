"""Brings data and history of older versions to this one: what `laion upgrade` does.

Every command migrates the tables that it opens, so this is for who wants to know before, to do it
at a time of their choice, and to bring Dagster's own tables along, which no command does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING

import duckdb

from laion_assets.errors import LaionError
from laion_assets.releases.manifest import Record
from laion_assets.schemas import CLEANING_VERSION, SCHEMA_VERSION
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.migration import check_not_newer, migrate_lance, read_lance_version
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.settings import Settings


class UpgradePlan(Record):
    """What is older than this version of the program.

    Attributes:
        migrations: what `laion upgrade` brings to this version, a line each.
        outdated: shards that older cleaning rules loaded; only a new load changes that.
    """

    migrations: tuple[str, ...]
    outdated: tuple[str, ...]


def plan_upgrade(settings: Settings, instance: dg.DagsterInstance) -> UpgradePlan:
    """Returns what there is to do; changes nothing.

    Raises:
        LaionError: a newer version of this project has written the data.
    """
    migrations: list[str] = []
    outdated: tuple[str, ...] = ()
    if Database.of(settings).exists():
        with Database.of(settings).read_as_it_is() as (connection, version):
            check_not_newer(settings.database, version)
            outdated = tuple(_list_outdated(connection))
        if version < SCHEMA_VERSION:
            migrations.append(f"DuckDB: schema {version} to {SCHEMA_VERSION}")
    images = LanceStore.of(settings).find("images")
    if images is not None and (version := read_lance_version(images)) < SCHEMA_VERSION:
        migrations.append(f"Lance: schema {version} to {SCHEMA_VERSION}")
    for name, found, newest in list_revisions(instance):
        if found != newest:
            migrations.append(f"Dagster's {name}: revision {found or 'none'} to {newest}")
    return UpgradePlan(migrations=tuple(migrations), outdated=outdated)


def upgrade(settings: Settings, instance: dg.DagsterInstance) -> UpgradePlan:
    """Migrates DuckDB, Lance and Dagster's history; returns what was done.

    Each migration does nothing where it was done before, so one that was cut off is done again.

    Raises:
        LaionError: a newer version of this project has written the data, or a run has not ended.
    """
    from laion_assets.orchestration.dead_runs import list_unfinished

    plan = plan_upgrade(settings, instance)
    if runs := list_unfinished(instance):
        raise LaionError(
            f"run {runs[0].run_id} of {runs[0].job_name} has not ended; wait for it or terminate "
            "it in the web UI, stop the daemon, then upgrade again",
            code="upgrade-during-run",
        )
    upgrade_tables(settings)
    with _hush():
        instance.upgrade()
    left = [name for name, found, newest in list_revisions(instance) if found != newest]
    if left:
        raise LaionError(
            f"Dagster's {', '.join(left)}: still of an older revision; run `dagster instance "
            "migrate` and read what it says",
            code="upgrade-history-failed",
        )
    return plan


def upgrade_tables(settings: Settings) -> None:
    """Migrates DuckDB and Lance, whoever reads them meanwhile."""
    if Database.of(settings).exists():
        # Only the version may have to be written.
        with Database.of(settings).write("schema_version"):
            pass
    store = LanceStore.of(settings)
    if store.find("images") is not None:
        migrate_lance(store)


def list_revisions(instance: dg.DagsterInstance) -> list[tuple[str, str | None, str]]:
    """Returns the revision of each of Dagster's databases, and the one that it should have."""
    storages = {
        "runs": instance.run_storage,
        "events": instance.event_log_storage,
        "schedules": instance.schedule_storage,
    }
    revisions: list[tuple[str, str | None, str]] = []
    for name, storage in storages.items():
        if storage is not None and (version := storage.alembic_version()) is not None:
            found, newest = version
            revisions.append((name, found, str(newest)))
    return revisions


def _list_outdated(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    try:
        rules = {"cleaning_version": CLEANING_VERSION}
        rows = connection.execute(load_sql("lance_images/select_outdated"), rules).fetchall()
    except duckdb.BinderException:
        # From before rules had a version.
        rows = connection.execute(load_sql("stores/select_shards")).fetchall()
    except duckdb.CatalogException:
        rows = []
    for shard, *_ in sorted(rows):
        yield shard


@contextmanager
def _hush() -> Iterator[None]:
    """Keeps Dagster from drawing a progress bar for each run."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
