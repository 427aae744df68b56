"""Reads from Dagster's history what failed, what is good again, and what is late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import dagster as dg

from laion_assets.alarms.causes import OVERLAP_S, Finding, Heard
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.runs.run_failures import read_failure

# Of runs that ended, so many are looked at in a tick; the others in the next.
MAX_RUNS = 100
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def find_in_runs(instance: dg.DagsterInstance, heard: Heard, web_ui: str) -> Iterator[Finding]:
    """Yields what the runs say that ended since the last look, and the checks in them.

    A run that somebody cancelled says nothing.

    Args:
        instance: Dagster's history.
        heard: what was looked at before; these runs are noted there.
        web_ui: the address of Dagster's pages.
    """
    after = datetime.fromtimestamp(heard.since - OVERLAP_S, UTC)
    records = instance.get_run_records(
        dg.RunsFilter(statuses=ENDED, updated_after=after),
        limit=MAX_RUNS,
        order_by="update_timestamp",
        ascending=True,
    )
    for record in records:
        run, ended_at = record.dagster_run, record.update_timestamp.timestamp()
        if heard.is_new_run(run.run_id, ended_at):
            yield from _read_checks(instance, run, ended_at, web_ui)
            yield from _read_run(instance, run, ended_at, web_ui)


def find_late(
    instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], now: float, web_ui: str
) -> Iterator[Finding]:
    """Yields which assets are older than their freshness policy allows, and which are not."""
    records = instance.event_log_storage.get_freshness_state_records(list(assets))
    for key, record in records.items():
        name = key.to_user_string()
        subject = f"late {name}"
        if record.freshness_state.value == "PASS":
            yield Finding(subject, now)
        elif record.freshness_state.value == "FAIL":
            yield Finding(
                subject,
                now,
                cause=subject,
                title=f"{name} is late",
                reason="it was not renewed in time; see what failed, and whether the schedule and "
                "the sensor are on",
                link=f"{web_ui}/assets/{'/'.join(key.path)}",
            )


def _read_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, ended_at: float, web_ui: str
) -> Iterator[Finding]:
    shard = run.tags.get(PARTITION_TAG, "")
    own = f"{run.job_name}/{shard}"
    if run.status is dg.DagsterRunStatus.SUCCESS:
        # Of the job as well, for what may pass; see `Finding.is_passing`.
        yield Finding(own, ended_at)
        yield Finding(run.job_name, ended_at)
        return
    failure = read_failure(instance, run)
    # A hundred shards of one server that is down fail for one cause; broken files each for its own.
    subject = run.job_name if failure.may_pass else own
    yield Finding(
        subject,
        ended_at,
        cause=f"{subject}: {failure.code}",
        is_passing=failure.may_pass,
        title=f"{run.job_name} {shard}".rstrip() + " failed",
        reason=failure.reason,
        link=f"{web_ui}/runs/{run.run_id}",
    )


def _read_checks(
    instance: dg.DagsterInstance, run: dg.DagsterRun, ended_at: float, web_ui: str
) -> Iterator[Finding]:
    shard = run.tags.get(PARTITION_TAG, "")
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    for entry in instance.all_logs(run.run_id, of_type=kind):
        assert entry.dagster_event
        check = entry.dagster_event.asset_check_evaluation_data
        name = f"{check.asset_key.to_user_string()}: {check.check_name}"
        subject = f"check {name}/{shard}"
        if check.passed:
            yield Finding(subject, ended_at)
            continue
        yield Finding(
            subject,
            ended_at,
            cause=subject,
            title=f"check {name} failed" + (f" for {shard}" if shard else ""),
            reason=check.description or "its page has more",
            link=f"{web_ui}/runs/{run.run_id}",
        )
