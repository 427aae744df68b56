"""Where Dagster keeps its history: in `LAION_HISTORY_DIR`, else beside the data; or in Postgres.

`dagster.yaml` names these classes. They are Dagster's own, but for the folder: a `.env` file cannot
say "this variable, or else that one with `/dagster` behind it", so every one of Dagster's programs
asks `settings.py` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from laion_assets.history_rules import EventRules, RunRules
from laion_assets.settings import find_catalog, find_history_dir
from laion_assets.stores.locks import lock_file

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData


class HistoryRuns(RunRules, SqliteRunStorage):
    """Runs, in SQLite."""


class HistoryEvents(EventRules, SqliteEventLogStorage):
    """Events of runs, in SQLite."""


class HistoryStorage(DagsterSqliteStorage):
    """Runs, events and schedules, in SQLite; in Postgres if `LAION_CATALOG` is set."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._run_storage = HistoryRuns(self._run_storage._conn_string)
        self._event_log_storage = HistoryEvents(self._event_log_storage._base_dir)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: the folder is a setting of the project."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]
        cls, inst_data: ConfigurableClassData, _config: Mapping[str, Any]
    ) -> DagsterStorage:
        """Opens the history; creates its folder.

        Several processes that find it empty would each create its tables, and break it: the first
        one does it while the others wait. Web server, daemon and health checks start together.
        """
        history_dir = find_history_dir()
        history_dir.mkdir(parents=True, exist_ok=True)
        catalog = find_catalog()
        if catalog:
            from laion_assets.history_postgres import open_postgres

            return open_postgres(catalog, inst_data)
        with lock_file(history_dir / ".init.lock"):
            return cls.from_local(str(history_dir), inst_data)


class HistoryArtifacts(LocalArtifactStorage):
    """What steps leave as files."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: the folder is a setting of the project."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, _config: Mapping[str, Any]
    ) -> Self:
        """Returns the folder."""
        return cls(str(find_history_dir()), inst_data)


class HistoryLogs(LocalComputeLogManager):
    """What runs print."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: the folder is a setting of the project."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, _config: Mapping[str, Any]
    ) -> Self:
        """Returns the folder."""
        return cls(str(find_history_dir() / "compute_logs"), inst_data=inst_data)


def remove_run_log(run_id: str) -> None:
    """Removes the file of the events of a run that was deleted; Dagster only empties it."""
    for path in (find_history_dir() / "history" / "runs").glob(f"{run_id}.db*"):
        path.unlink(missing_ok=True)
