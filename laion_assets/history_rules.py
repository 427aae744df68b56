"""What Dagster's history does otherwise than Dagster's own, wherever it is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.events import DagsterEvent, JobCanceledData
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.tags import WILL_RETRY_TAG

from laion_assets.settings import find_log_format

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry


class RunRules(SqlRunStorage):
    """Runs. One that was to be cancelled, and then ends badly, was cancelled.

    Where the signal meets Dagster's own code between two steps, or the process is ended the hard
    way, Dagster calls the run failed, and starts it again (`run_retries`), as nobody wants. So it
    does where a process starts in the moment in which its run is cancelled.
    """

    def handle_run_event(
        self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None
    ) -> None:
        """Notes in the run what an event says."""
        is_start = event.event_type is dg.DagsterEventType.RUN_START
        if is_start and self._has_status(run_id, dg.DagsterRunStatus.CANCELING):
            return
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


class EventRules(SqlEventLogStorage):
    """Events of runs, which can be printed as JSON as well: `LAION_LOG_FORMAT`.

    All that is said of a run comes here, from its own process and from the daemon. Dagster's own
    setting for this is in beta, and warns of it at every start.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
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
