"""Reads from Dagster's history why the last run of something failed, and whether that may pass."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

import dagster as dg

# The system says these of a disk, a permission or a limit. Somebody or time changes them, and
# nothing that we compare shows it.
_OF_THE_SYSTEM = tuple(
    os.strerror(number)
    for number in (
        errno.EACCES,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
        errno.ETIMEDOUT,
    )
)
_OF_THE_MACHINE = ("DuckDB:", "disk", "memory")
_ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed, in one line, and whether trying again may help."""

    reason: str
    may_pass: bool


def find_failure(
    instance: dg.DagsterInstance, job: str, shard: str | None = None
) -> RunFailure | None:
    """Returns why the last run of a job failed; None if it did not, or if there is none."""
    tags = {"dagster/partition": shard} if shard else {}
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags=tags), limit=1)
    if not runs or runs[0].status not in _ENDED_BADLY:
        return None
    return _read_failure(instance, runs[0])


def _read_failure(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunFailure:
    """Returns what the log of a run that has failed says.

    This is the only place that judges whether a failure may pass.
    """
    if run.status is dg.DagsterRunStatus.CANCELED:
        return RunFailure("its run was cancelled; start it again by hand", may_pass=False)
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_UP_FOR_RETRY}
    events = [
        entry.dagster_event
        for entry in instance.all_logs(run.run_id, of_type=kinds)
        if entry.dagster_event
    ]
    failures = [event for event in events if event.is_step_failure]
    if not failures:
        return RunFailure("its process ended without a reason, as if killed", may_pass=True)
    reason, is_ours = _read_reason(failures[0])
    was_retried = any(event.is_step_up_for_retry for event in events)
    is_about_the_machine = any(text in reason for text in (*_OF_THE_SYSTEM, *_OF_THE_MACHINE))
    return RunFailure(reason, was_retried or is_about_the_machine or not is_ours)


def _read_reason(event: dg.DagsterEvent) -> tuple[str, bool]:
    """Returns the message of the innermost error, and whether it is one of the project."""
    data = event.step_failure_data
    error = data.error
    if data.user_failure_data and data.user_failure_data.description:
        return " ".join(data.user_failure_data.description.split()), True
    while error and error.cause and str(error.cls_name).startswith(("Dagster", "Retry")):
        error = error.cause
    if error is None:
        return "no reason given", False
    message = " ".join(error.message.split())
    return message.removeprefix("dagster._core.definitions.events.Failure: "), (
        error.cls_name == "Failure"
    )
