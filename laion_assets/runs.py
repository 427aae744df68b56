"""Which runs are on their way, and which only seem to be."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import dagster as dg

# A run of which no process is known; none takes so long.
LONGEST_RUN = timedelta(hours=12)
# Of the runs that `laion` executes itself.
STARTED_BY_TAG = "laion/started_by"
PROCESS_TAG = "laion/process"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks runs as failed whose process is gone; returns their ids.

    Dagster's history says for ever that they run, as after `kill -9` or a loss of power. All runs
    are processes of this machine, as the locks between them demand anyway.
    """
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        pid = _find_process(instance, run)
        if pid is None or _is_alive(pid):
            continue
        # Nobody writes to its log any more: what it says now is the last word.
        last = instance.get_run_by_id(run.run_id)
        if last and not last.is_finished:
            instance.report_run_failed(
                last, f"process {pid} ended without a word, as if killed; materialize it again"
            )
            ended.append(run.run_id)
    return ended


def is_busy(instance: dg.DagsterInstance) -> bool:
    """Returns whether a run or a backfill is on its way, of whatever kind."""
    since = datetime.now(tz=UTC) - LONGEST_RUN
    if instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED, created_after=since)):
        return True
    return any(
        backfill.status.name in {"REQUESTED", "CANCELING"}
        for backfill in instance.get_backfills(limit=100)
    )


def _find_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """Returns the process that executes a run, as its tag or its log tells."""
    pid = int(run.tags[PROCESS_TAG]) if PROCESS_TAG in run.tags else None
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        if entry.dagster_event and "pid" in (
            told := entry.dagster_event.engine_event_data.metadata
        ):
            pid = int(str(told["pid"].value))
    return pid


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
