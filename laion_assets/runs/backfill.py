"""Runs the project's jobs in this process: one run a shard, then counts and release once.

No daemon is needed, one import of the libraries serves all runs, and a shard that fails leaves
the others alone.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.orchestration.dead_runs import STARTED_BY_TAG, describe_worker
from laion_assets.orchestration.interrupts import hold_signals, watch_signals
from laion_assets.partitions import SHARDS_NAME
from laion_assets.raw_shards.source_asset import describe_changes

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

    from laion_assets.raw_shards.discovery import Discovery
    from laion_assets.runs.due import Due
    from laion_assets.settings import Settings

# The caller shows progress and the reason of a failure; everything else is in the event log.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# How the classes begin that say no more than that their cause was raised.
WRAPPERS = ("Dagster", "RetryRequested")


@dataclass(frozen=True, eq=False)
class Order:
    """A run that somebody wants.

    Attributes:
        name: what it is called while it runs.
        job: what to run.
        shard: partition key, None for a job without partitions.
        config: of the run.
    """

    name: str
    job: dg.JobDefinition
    shard: str | None = None
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        reason: why it failed, in one line; None if it did not.
        duration_s: how long it took.
        metadata: of each asset that it materialized, by asset.
    """

    reason: str | None
    duration_s: float
    metadata: dict[str, dict[str, object]]


def discover_shards(
    settings: Settings, instance: dg.DagsterInstance, *, is_asking: bool = True
) -> Discovery:
    """Adds the shards that `LAION_SHARDS` names as partitions; returns what else was found.

    A shard that is no longer there keeps its partition. Whether a plain URL has another file than
    was fetched is known only by asking its server.
    """
    from laion_assets.raw_shards.discovery import discover
    from laion_assets.raw_shards.resource import ShardSource

    partitions = instance.get_dynamic_partitions(SHARDS_NAME)
    source = ShardSource.open(settings)
    found = discover(source.locations, source.store, source.rules, partitions, is_asking=is_asking)
    if found.new:
        instance.add_dynamic_partitions(SHARDS_NAME, found.new)
    for event in describe_changes(found.due, (*found.new, *found.changed)):
        instance.report_runless_asset_event(event)
    return found


def find_missing(
    settings: Settings,
    instance: dg.DagsterInstance,
    shards: Sequence[str],
    found: Discovery | None = None,
) -> list[str]:
    """Returns those of the shards that are not done.

    They are those of which two stages are out of step, those that older rules cleaned, and those
    that failed last.

    Args:
        settings: where everything is.
        instance: knows how the last runs ended.
        shards: the shards to look at.
        found: what the sources have; by default the folders on this machine alone.
    """
    if not shards:
        return []
    from laion_assets.runs.status import read_loads, read_states

    due = _read_due(settings, shards, found)
    loads = read_loads(settings)
    states = read_states(instance, shards, loads, due)
    return [
        shard
        for shard in shards
        if states[shard] == "failed" or shard not in loads or shard in due.steps
    ]


def find_without_pictures(
    settings: Settings,
    shards: Sequence[str],
    found: Discovery | None = None,
) -> list[str]:
    """Returns those of the shards that bring pictures which Lance does not have yet.

    The arguments are those of `find_missing`.
    """
    if not shards:
        return []
    due = _read_due(settings, shards, found)
    return [shard for shard in shards if shard in due.unpictured]


def _read_due(settings: Settings, shards: Sequence[str], found: Discovery | None) -> Due:
    from laion_assets.curation.resource import CurationFile
    from laion_assets.runs.status import look_around, read_due

    curation = CurationFile.build(settings).read()
    return read_due(settings, shards, found or look_around(settings, shards), curation)


def run_job(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    shard: str | None = None,
    config: Mapping[str, object] | None = None,
) -> Outcome:
    """Runs a job to its end in this process; a failure is an outcome, not an exception.

    Args:
        job: what to run.
        instance: where the run is noted.
        shard: partition key, None for a job without partitions.
        config: of the run, beside that it is quiet.

    Raises:
        StoppedError: a signal asked this process to stop; Dagster notes the run as failed.
    """
    started = time.monotonic()
    run_id = str(uuid.uuid4())
    # Dagster has handlers of its own, and loses what arrives between them: the watch does not.
    with watch_signals() as watch, hold_signals():
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            partition_key=shard,
            raise_on_error=False,
            run_config={**QUIET, **(config or {})},
            tags={STARTED_BY_TAG: "laion", **describe_worker(run_id)},
        )
        if watch is not None:
            watch.check()
    return Outcome(
        reason=None if result.success else _reason(result.all_events),
        duration_s=time.monotonic() - started,
        metadata=read_metadata(result.all_events),
    )


def read_metadata(events: Iterable[dg.DagsterEvent]) -> dict[str, dict[str, object]]:
    """Returns what a run says of each asset that it materialized, by asset."""
    materializations = [
        event.step_materialization_data.materialization
        for event in events
        if event.is_step_materialization
    ]
    return {
        m.asset_key.to_user_string(): {name: value.value for name, value in m.metadata.items()}
        for m in materializations
    }


def _reason(events: Iterable[dg.DagsterEvent]) -> str:
    """Returns why the run failed, in one line: the reason of the first step, else of the run."""
    reasons = [reason for event in events if (reason := find_reason(event))]
    return reasons[0] if reasons else "the run failed without a reason; see it in the Dagster UI"


def find_reason(event: dg.DagsterEvent) -> str | None:
    """Returns why a step or a run failed, in one line; None if the event is no failure."""
    if event.is_step_failure:
        told = event.step_failure_data.user_failure_data
        if told and told.description:
            return " ".join(told.description.split())
        return _unwrap(event.step_failure_data.error)
    # Who ends a run from outside gives no error.
    if event.is_job_failure and event.event_specific_data:
        return _unwrap(event.job_failure_data.error)
    return None


def _unwrap(error: SerializableErrorInfo | None) -> str | None:
    """Returns the message of an error, without the exceptions that Dagster wraps it in."""
    while error and error.cause and str(error.cls_name).startswith(WRAPPERS):
        error = error.cause
    return " ".join(error.message.split()) if error else None
