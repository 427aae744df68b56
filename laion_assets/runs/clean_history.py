"""Removes old runs from Dagster's history, with their events and what they printed.

What the pages and `laion status` say stays as it is: the last run of each job for each shard is
kept, and each run of which a partition, an asset or a check shows the last result.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterEventType, EventRecordsFilter
from pydantic import Field

from laion_assets.history import remove_run_log
from laion_assets.orchestration.failures import explain_failures
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.runs.tick import IN_BACKGROUND
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore

# So many records are read at a time.
PAGE_LENGTH = 500
SHOWN_EVENTS = (
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
)


class CleaningConfig(dg.Config):
    """How long the history is kept."""

    keep_days: float | None = Field(
        default=None,
        ge=0,
        description="Runs that ended longer ago are removed, unless a page shows them; by default "
        "as LAION_KEEP_HISTORY_DAYS says.",
    )


def build_clean_history(
    checks: Collection[dg.AssetCheckKey], settings: Settings
) -> dg.JobDefinition:
    """Returns the job that removes old runs, and limits what else grows by itself.

    Args:
        checks: those that there are.
        settings: how long and how much is kept.
    """

    @dg.op
    @explain_failures
    def remove_old_runs(context: dg.OpExecutionContext, config: CleaningConfig) -> None:
        """Removes the runs that ended long ago and that nothing shows any more."""
        keep_days = settings.keep_history_days if config.keep_days is None else config.keep_days
        count = clean_history(context.instance, checks, keep_days)
        context.log.info(f"removed {count:,} runs with their events and logs")

    @dg.op
    @explain_failures
    def remove_scratch(context: dg.OpExecutionContext) -> None:
        """Removes old unfinished files, and the oldest of a cache that is too large."""
        from laion_assets.stores import scratch
        from laion_assets.stores.cache_limit import limit_caches

        store, raws = LanceStore.of(settings), RawStore(settings.raw_dir)
        days = settings.keep_scratch_days
        freed = scratch.remove_scratch(settings.data_dir, store, raws, days)
        context.log.info(f"removed {freed / 1e6:,.1f} MB of unfinished files")
        limit_gb = settings.picture_cache_gb
        cleaning = limit_caches(settings.picture_cache_dir, limit_gb * 1e9)
        size = f"{cleaning.used_bytes / 1e9:,.3f} GB of {limit_gb:g} GB"
        if cleaning.is_in_use:
            context.log.info(f"the cache of pictures is in use, and stays as it is: {size}")
        else:
            context.log.info(f"removed {cleaning.removed_count:,} from the picture cache: {size}")

    @dg.job(
        name="clean_history",
        description=(
            f"Removes runs that ended over {settings.keep_history_days:g} days ago from Dagster's "
            "history, with their events and logs; the last run of each shard, asset and check "
            "stays. It also removes old unfinished files, and the oldest fetched pictures if "
            f"their cache takes more than {settings.picture_cache_gb:g} GB."
        ),
    )
    def job() -> None:
        remove_old_runs()
        remove_scratch()

    return job


def build_daily_cleaning(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Returns the schedule that runs the cleaning every day."""
    return dg.ScheduleDefinition(
        name="daily_clean_history",
        job=job,
        cron_schedule="0 5 * * *",
        execution_timezone="UTC",
        tags=IN_BACKGROUND,
        description="Removes old runs and unfinished files every day at 05:00 UTC.",
    )


def clean_history(
    instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey], keep_days: float
) -> int:
    """Removes the runs that ended longer ago than these days and that nothing shows any more.

    Args:
        instance: the history.
        checks: the checks that there are.
        keep_days: how long a run is kept in any case.

    Returns:
        How many were removed.
    """
    old = find_old_runs(instance, checks, keep_days)
    remove_runs(instance, old)
    return len(old)


def remove_runs(instance: dg.DagsterInstance, run_ids: Collection[str]) -> None:
    """Removes runs with their events and what they printed."""
    for run_id in sorted(run_ids):
        # The run itself goes last but for its file, so that a cleaning that was cut off goes on.
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.delete_run(run_id)
        remove_run_log(run_id)


def find_old_runs(
    instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey], keep_days: float
) -> set[str]:
    """Returns the runs that `clean_history` would remove; the arguments are its own."""
    since = datetime.now(tz=UTC) - timedelta(days=keep_days)
    old = _find_superseded(instance, since)
    return old - _find_shown(instance, checks) if old else old


def _find_superseded(instance: dg.DagsterInstance, since: datetime) -> set[str]:
    """Returns the runs that ended before then, without the last of each job for each shard."""
    seen: set[tuple[str, str]] = set()
    old: set[str] = set()
    for record in list_runs(instance):
        run = record.dagster_run
        work = run.job_name, run.tags.get(PARTITION_TAG, "")
        is_last = work not in seen
        seen.add(work)
        if run.is_finished and not is_last and record.update_timestamp.astimezone(UTC) < since:
            old.add(run.run_id)
    return old


def list_runs(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    """Yields all runs, the newest first."""
    cursor: str | None = None
    while page := instance.get_run_records(limit=PAGE_LENGTH, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _find_shown(instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey]) -> set[str]:
    """Returns the runs whose result an asset, a partition or a check shows as its last."""
    storage = instance.event_log_storage
    executions = storage.get_latest_asset_check_execution_by_key(list(checks))
    shown = {execution.run_id for execution in executions.values()}
    for key in instance.all_asset_keys():
        for event_type in SHOWN_EVENTS:
            ids = storage.get_latest_storage_id_by_partition(key, event_type).values()
            shown |= _find_runs(instance, key, event_type, sorted(ids))
        if (last := instance.get_latest_materialization_event(key)) is not None:
            shown.add(last.run_id)
        if (planned := storage.get_latest_planned_materialization_info(key)) is not None:
            shown.add(planned.run_id)
    return shown


def _find_runs(
    instance: dg.DagsterInstance, key: dg.AssetKey, event_type: DagsterEventType, ids: list[int]
) -> set[str]:
    runs: set[str] = set()
    for start in range(0, len(ids), PAGE_LENGTH):
        wanted = EventRecordsFilter(
            event_type, asset_key=key, storage_ids=ids[start : start + PAGE_LENGTH]
        )
        records = instance.event_log_storage.get_event_records(wanted)
        runs |= {record.event_log_entry.run_id for record in records}
    return runs
