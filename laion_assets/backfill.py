"""Runs the project's jobs in this process: one run a shard, then counts and release once.

No daemon is needed, one import of the libraries serves all runs, and a shard that fails leaves
the others alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from laion_assets.partitions import SHARDS_NAME
from laion_assets.runs import PROCESS_TAG, STARTED_BY_TAG

if TYPE_CHECKING:
    from laion_assets.lib.discovery import Discovery
    from laion_assets.settings import Settings

# The caller shows progress and the reason of a failure; everything else is in the event log.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


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
    from laion_assets.lib.discovery import discover
    from laion_assets.resources import ShardSource

    source = ShardSource.build(settings).process_config_and_initialize()
    partitions = instance.get_dynamic_partitions(SHARDS_NAME)
    found = discover(
        source.locations, settings.raw_dir, source.rules, partitions, is_asking=is_asking
    )
    if found.new:
        instance.add_dynamic_partitions(SHARDS_NAME, found.new)
    return found


def find_missing(
    settings: Settings,
    instance: dg.DagsterInstance,
    shards: Sequence[str],
    found: Discovery | None = None,
) -> list[str]:
    """Returns those of the shards that are not done.

    They are those of which two stages are out of step, and those that failed last.

    Args:
        settings: where everything is.
        instance: knows how the last runs ended.
        shards: the shards to look at.
        found: what the sources have; by default the folders on this machine alone.
    """
    from laion_assets.status import look_around, read_due, read_loads, read_states

    due = read_due(settings, shards, found or look_around(settings, shards))
    loads = read_loads(settings)
    states = read_states(instance, shards, loads, due)
    return [
        shard
        for shard in shards
        if states[shard] == "failed" or shard not in loads or shard in due.steps
    ]


def run_job(
    job: dg.JobDefinition, instance: dg.DagsterInstance, shard: str | None = None
) -> Outcome:
    """Runs a job to its end in this process; a failure is an outcome, not an exception.

    Raises:
        KeyboardInterrupt: somebody stopped it, which Dagster notes as a failure.
    """
    started = time.monotonic()
    result = job.execute_in_process(
        instance=instance,
        partition_key=shard,
        raise_on_error=False,
        run_config=QUIET,
        tags={STARTED_BY_TAG: "laion", PROCESS_TAG: str(os.getpid())},
    )
    return Outcome(
        reason=None if result.success else _reason(result.all_events),
        duration_s=time.monotonic() - started,
        metadata=_metadata(result.all_events),
    )


def _metadata(events: Iterable[dg.DagsterEvent]) -> dict[str, dict[str, object]]:
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
    """Returns the message of the first error, without the exceptions that Dagster wraps it in."""
    for event in events:
        if event.is_step_failure and (error := event.step_failure_data.error):
            if error.cls_name == "DagsterExecutionInterruptedError":
                raise KeyboardInterrupt
            if (told := event.step_failure_data.user_failure_data) and told.description:
                return " ".join(told.description.split())
            while error.cause and str(error.cls_name).startswith("Dagster"):
                error = error.cause
            return " ".join(error.message.split())
    return "the run failed before its first step; see it in the Dagster UI"
