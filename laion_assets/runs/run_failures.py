"""Reads from Dagster's history why the last run of something failed, and whether that may pass."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from laion_assets.orchestration.failures import CODE_KEY, MAY_PASS_KEY
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.runs.backfill import find_reason

_ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed, in one line, whether trying again may help, and which error it is."""

    reason: str
    may_pass: bool
    code: str = ""


def find_failure(
    instance: dg.DagsterInstance, job: str, shard: str | None = None
) -> RunFailure | None:
    """Returns why the last run of a job failed; None if it did not, or if there is none."""
    tags = {PARTITION_TAG: shard} if shard else {}
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags=tags), limit=1)
    if not runs or runs[0].status not in _ENDED_BADLY:
        return None
    return read_failure(instance, runs[0])


def read_failure(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunFailure:
    """Returns what the log of a run that has failed says.

    This is the only place that judges whether a failure may pass.
    """
    if run.status is dg.DagsterRunStatus.CANCELED:
        return _explain_cancel(run)
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    failures = [entry.dagster_event for entry in entries if entry.dagster_event]
    if not failures:
        return _explain_end(instance, run)
    if _is_cancelled(failures[0]):
        return _explain_cancel(run)
    data = failures[0].step_failure_data.user_failure_data
    metadata = data.metadata if data else {}
    said, code = metadata.get(MAY_PASS_KEY), metadata.get(CODE_KEY)
    # A failure that does not say is one of Dagster itself.
    return RunFailure(
        find_reason(failures[0]) or "no reason given",
        may_pass=bool(said.value) if said else True,
        code=str(code.value) if code else "",
    )


def _is_cancelled(failure: dg.DagsterEvent) -> bool:
    """Returns whether a step failed because a signal stopped its run before it could say so."""
    error = failure.step_failure_data.error
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__


def _explain_cancel(run: dg.DagsterRun) -> RunFailure:
    # A refresh that is still due comes again by itself.
    advice = "; start it again by hand" if PARTITION_TAG in run.tags else ""
    return RunFailure(f"its run was cancelled{advice}", may_pass=False)


def _explain_end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunFailure:
    """Returns why a run ended of which no step failed."""
    events = [e.dagster_event for e in instance.all_logs(run.run_id) if e.dagster_event]
    if any(event.event_type is dg.DagsterEventType.RUN_START for event in events):
        reason, code = "its process ended without a reason, as if killed", "killed"
    else:
        # What the daemon could not do is said before the event that the run failed.
        told = [_read_trouble(event) for event in events]
        facts = [fact for fact in told if fact] or ["the log of the run has more"]
        reason, code = f"its process was not started: {facts[0]}", "not-started"
    return RunFailure(reason, may_pass=True, code=code)


def _read_trouble(event: dg.DagsterEvent) -> str | None:
    if event.is_engine_event and (error := event.engine_event_data.error):
        text = " ".join(error.message.split())
        # Without the class in front of it.
        return text.partition(f"{error.cls_name}: ")[2] or text
    return find_reason(event) or (event.message if event.is_run_failure else None)
