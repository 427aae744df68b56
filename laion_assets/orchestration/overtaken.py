"""Whether the shards change while a run counts and releases them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import dagster as dg

from laion_assets.orchestration.dead_runs import list_unfinished

# Dagster's own, on every run of one partition.
PARTITION_TAG = "dagster/partition"
# So many runs are looked at; the newest come first.
MAX_RUNS = 200


def is_overtaken(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Returns whether a run of a shard is on its way, or was at any time since this run began.

    What such a run makes stale is no failure: the next refresh counts and releases it.
    """
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return False
    since = datetime.fromtimestamp(record.start_time or record.create_timestamp.timestamp(), UTC)
    runs = [
        *list_unfinished(instance),
        *instance.get_runs(dg.RunsFilter(updated_after=since), limit=MAX_RUNS),
    ]
    return any(PARTITION_TAG in run.tags for run in runs if run.run_id != run_id)


def warn_overtaken() -> None:
    """Says why a refresh ends without a release; the command line and the run's page show it."""
    logging.getLogger(__name__).warning(
        "a shard was loaded during this refresh; the next refresh counts and releases it"
    )
