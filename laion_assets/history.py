"""Where Dagster keeps its history: in `LAION_HISTORY_DIR`, else beside the data.

`dagster.yaml` names these classes. They are Dagster's own, but for the folder: a `.env` file cannot
say "this variable, or else that one with `/dagster` behind it", so every one of Dagster's programs
asks `settings.py` here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from dagster._core.events import DagsterEvent, JobCanceledData
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._core.storage.tags import WILL_RETRY_TAG

from laion_assets.settings import find_history_dir, find_log_format
from laion_assets.stores.locks import lock_file

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry
    from dagster._serdes import ConfigurableClassData


class HistoryRuns(SqliteRunStorage):
    """Runs. One that was to be cancelled, and then ends badly, was cancelled.

    Where the signal meets Dagster's own code between two steps, or the process is ended the hard
    way, Dagster calls the run failed, and starts it again (`run_retries`), as nobody wants.
    """

    def handle_run_event(
        self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None
    ) -> None:
        """Notes in the run what an event says."""
        if event.is_run_failure and self._has_status(run_id, dg.DagsterRunStatus.CANCELING):
            event = event._replace(
                event_type_value=dg.DagsterEventType.RUN_CANCELED.value,
                event_specific_data=JobCanceledData(error=None),
            )
        super().handle_run_event(run_id, event, update_timestamp)

    def add_run_tags(self, run_id: str, new_tags: Mapping[str, str]) -> None:
        """Adds tags; that of a failure that is tried again is none of a cancelled run."""
        if WILL_RETRY_TAG in new_tags and self._has_status(run_id, dg.DagsterRunStatus.CANCELED):
            new_tags = {**new_tags, WILL_RETRY_TAG: "false"}
        super().add_run_tags(run_id, new_tags)

    def _has_status(self, run_id: str, status: dg.DagsterRunStatus) -> bool:
        run = self._get_run_by_id(run_id)
        return run is not None and run.status is status


class HistoryEvents(SqliteEventLogStorage):
    """Events of runs, which can be printed as JSON as well: `LAION_LOG_FORMAT`.

    All that is said of a run comes here, from its own process and from the daemon. Dagster's own
    setting for this is in beta, and warns of it at every start.
    """

    def __init__(self, base_dir: str) -> None:
        super().__init__(base_dir)
        self._is_printing = find_log_format() == "json"

    def store_event(self, event: EventLogEntry) -> None:
        """Stores an event, and prints it if that is asked for."""
        super().store_event(event)
        if self._is_printing:
            print(write_event(event), flush=True)


def write_event(event: EventLogEntry) -> str:
    """Returns an event as a JSON object in one line, without what it does not have."""
    said = event.dagster_event
    line = {
        "time": datetime.fromtimestamp(event.timestamp, UTC).isoformat(timespec="milliseconds"),
        "level": logging.getLevelName(event.level).lower(),
        "message": event.user_message or event.message,
        "run": event.run_id,
        "job": event.job_name,
        "step": event.step_key,
        "shard": said.partition if said else None,
        "event": said.event_type_value if said else None,
        # Of a step that failed: with the cause, as the page of the run shows it.
        "error": getattr(said and said.event_specific_data, "error_display_string", None),
    }
    return json.dumps({name: value for name, value in line.items() if value is not None})


class HistoryStorage(DagsterSqliteStorage):
    """Runs, events and schedules, in SQLite."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._run_storage = HistoryRuns(self._run_storage._conn_string)
        self._event_log_storage = HistoryEvents(self._event_log_storage._base_dir)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing: the folder is a setting of the project."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, _config: Mapping[str, Any]
    ) -> Self:
        """Opens the history; creates its folder.

        Several processes that find it empty would each create its tables, and break it: the first
        one does it while the others wait. Web server, daemon and health checks start together.
        """
        history_dir = find_history_dir()
        history_dir.mkdir(parents=True, exist_ok=True)
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
