"""Which runs are on their way, and which only seem to be."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from laion_assets.orchestration.processes import find_process, read_start
from laion_assets.settings import find_ray

# A run that has said nothing for so long, and of which no process is known, is not waited for.
LONGEST_RUN = timedelta(hours=12)
# A worker says within seconds on which machine it is.
LONGEST_START = timedelta(minutes=10)
# Clocks of files and of processes differ by a tick.
TOLERANCE_S = 2.0
# Of the runs that `laion` executes itself.
STARTED_BY_TAG = "laion/started_by"
# Which process executes a run. A run that is tried again has the tags of the one before, so this
# one names its run as well.
WORKER_TAG = "laion/worker"
# All that older versions noted, on the only machine that there was.
PROCESS_TAG = "laion/process"
# Once a run waits in the queue, only the daemon or a person takes it out.
QUEUED = dg.DagsterRunStatus.QUEUED
STARTED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class Worker:
    """The process that executes a run.

    Attributes:
        pid: its id on its machine.
        host: its machine; None if the run does not say.
        start: when it started, in the kernel's ticks; '' if the run does not say.
        seen_at: a time at which it ran, in seconds since 1970.
    """

    pid: int
    host: str | None
    start: str
    seen_at: float

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended. Of a process of another machine nothing is known."""
        if self.host not in (None, socket.gethostname()):
            return False
        process = find_process(self.pid)
        if process is None:
            return self.host is not None or _is_long_ago(self.seen_at)
        if self.start and process.start:
            return process.start != self.start
        # The id was taken then, so a process that began later has it from the dead one.
        return process.started_at is not None and process.started_at > self.seen_at + TOLERANCE_S


def describe_worker(run_id: str) -> dict[str, str]:
    """Returns the tags that say that this process executes a run."""
    pid = os.getpid()
    start = read_start(pid)
    worker = {"run": run_id, "host": socket.gethostname(), "pid": pid, "start": start}
    return {WORKER_TAG: json.dumps(worker)}


def tag_worker(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Notes in the run that this process executes it, unless it is noted."""
    tags = describe_worker(run.run_id)
    if not tags.items() <= run.tags.items():
        instance.add_run_tags(run.run_id, tags)


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks runs as failed whose process is gone; returns their ids.

    Dagster's history says for ever that they run, as after `kill -9` or a loss of power. A run on
    another machine is left alone: whether its process lives is not known here.
    """
    ended = []
    for run, worker in find_dead_runs(instance):
        # Nobody writes to its log any more: what it says now is the last word.
        last = instance.get_run_by_id(run.run_id)
        if last and not last.is_finished:
            _end(instance, last, worker.pid)
            ended.append(last.run_id)
    return ended


def find_dead_runs(instance: dg.DagsterInstance) -> list[tuple[dg.DagsterRun, Worker]]:
    """Returns the runs that seem to be on their way and whose process is gone.

    On Ray there are none: Dagster's daemon looks after the jobs itself, and a process of this
    machine says nothing of a node.
    """
    if find_ray() is not None:
        return []
    records = instance.get_run_records(dg.RunsFilter(statuses=[QUEUED, *STARTED]))
    found = [(record.dagster_run, _find_worker(instance, record)) for record in records]
    return [(run, worker) for run, worker in found if worker is not None and worker.is_dead]


def is_busy(instance: dg.DagsterInstance) -> bool:
    """Returns whether a run or a backfill is on its way, of whatever kind."""
    return bool(list_unfinished(instance)) or any(
        backfill.status.name in {"REQUESTED", "CANCELING"}
        for backfill in instance.get_backfills(limit=100)
    )


def list_unfinished(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Returns the runs that wait in the queue or are on their way, as far as can be known."""
    since = datetime.now(tz=UTC) - LONGEST_RUN
    records = instance.get_run_records(dg.RunsFilter(statuses=[QUEUED, *STARTED]))
    return [
        record.dagster_run
        for record in records
        if record.dagster_run.status == QUEUED
        or record.update_timestamp.astimezone(UTC) > since
        or _is_alive_here(instance, record)
    ]


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int) -> None:
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, f"process {pid} ended before it could say so")
    else:
        instance.report_run_failed(
            run, f"process {pid} ended without a word, as if killed; materialize it again"
        )


def _is_alive_here(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    worker = _find_worker(instance, record)
    if worker is None or worker.host != socket.gethostname():
        return False
    return not worker.is_dead


def _find_worker(instance: dg.DagsterInstance, record: dg.RunRecord) -> Worker | None:
    """Returns the process that executes a run, as its tags or its log tell."""
    run, created_at = record.dagster_run, record.create_timestamp.astimezone(UTC).timestamp()
    worker = json.loads(run.tags.get(WORKER_TAG, "{}"))
    if worker.get("run") == run.run_id:
        return Worker(worker["pid"], worker["host"], worker["start"], created_at)
    if PROCESS_TAG in run.tags and run.parent_run_id is None:
        return Worker(int(run.tags[PROCESS_TAG]), socket.gethostname(), "", created_at)
    last: Worker | None = None
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        told: Mapping[str, dg.MetadataValue] = (
            entry.dagster_event.engine_event_data.metadata if entry.dagster_event else {}
        )
        if "pid" in told:
            last = Worker(int(str(told["pid"].value)), None, "", entry.timestamp)
    return last


def _is_long_ago(moment: float) -> bool:
    return datetime.now(tz=UTC).timestamp() - moment > LONGEST_START.total_seconds()
