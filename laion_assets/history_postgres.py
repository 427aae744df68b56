"""Dagster's history in Postgres, so that several machines share it: `LAION_CATALOG`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage

from laion_assets.history_rules import EventRules, RunRules
from laion_assets.stores.postgres import CatalogLock

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData

# A command says quickly that Postgres is not there; a restart of it takes a few seconds.
PATIENCE_S = 10


class PostgresRuns(RunRules, PostgresRunStorage):
    """Runs, in Postgres."""


class PostgresEvents(EventRules, PostgresEventLogStorage):
    """Events of runs, in Postgres."""


class PostgresStorage(DagsterPostgresStorage):
    """Runs, events and schedules, in Postgres."""

    def __init__(self, address: str, inst_data: ConfigurableClassData | None) -> None:
        super().__init__(address, inst_data=inst_data)
        # The storages of Dagster's own class have made the tables.
        self._run_storage = PostgresRuns(address, should_autocreate_tables=False)
        self._event_log_storage = PostgresEvents(address, should_autocreate_tables=False)


def open_postgres(catalog: str, inst_data: ConfigurableClassData | None) -> PostgresStorage:
    """Opens the history in Postgres; creates its tables.

    Several processes that find it empty would create them at once: the first one does it while the
    others wait.

    Raises:
        LaionError: Postgres cannot be reached, or the extra is not installed.
    """
    # SQLAlchemy takes the plain form for another client than the one that Dagster brings.
    address = "postgresql+psycopg2://" + catalog.partition("://")[2]
    with CatalogLock(catalog, "history", patience_s=PATIENCE_S):
        return PostgresStorage(address, inst_data)
