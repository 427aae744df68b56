"""What `laion doctor` finds in Dagster's history: the daemon, dead runs, and how large it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from laion_assets.amounts import say_amount
from laion_assets.operations.finding import Finding
from laion_assets.settings import find_ray

if TYPE_CHECKING:
    import dagster as dg

    from laion_assets.settings import Settings

# The daemon says every 30 seconds that it lives; Dagster itself waits so much longer.
SILENT_S = 30 + 1800
# The cleaning runs once a day.
CLEANING_LATE_DAYS = 2


def look_at_daemon(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Finds a sensor, a schedule or Ray that is on while no daemon runs."""
    running = sorted(
        state.instigator_name
        for state in instance.all_instigator_state()
        if state.status.value in ("RUNNING", "DECLARED_IN_CODE")
    )
    beats = instance.get_daemon_heartbeats()
    last = max((beat.timestamp for beat in beats.values()), default=None)
    silent_s = None if last is None else time.time() - last
    errors = [error.message for beat in beats.values() for error in beat.errors or ()]
    is_alive = silent_s is not None and silent_s < SILENT_S
    # It starts every run there, whoever ordered it.
    needing = [*running, *(["runs on Ray"] if find_ray() else [])]
    if needing and not is_alive:
        since = (
            "was never heard"
            if silent_s is None
            else f"was last heard {silent_s / 60:,.0f} min ago"
        )
        yield Finding.wrong(
            "daemon",
            f"{', '.join(needing)} are on, but the daemon {since}; start it (`dagster-daemon run`, "
            "or `make dev`)",
        )
    elif is_alive and errors:
        line = errors[0].strip().splitlines()[0]
        yield Finding.wrong("daemon", f"the daemon reports: {line}; read its log, then restart it")
    elif is_alive:
        yield Finding.sound(
            "daemon", f"runs; on are {', '.join(running) or 'no sensor and no schedule'}"
        )
    else:
        yield Finding.sound("daemon", "does not run, and no sensor or schedule is on")


def look_at_runs(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Finds runs that seem to be on their way and whose process is gone."""
    from laion_assets.orchestration.dead_runs import find_dead_runs, list_unfinished

    dead = find_dead_runs(instance)
    for run, worker in dead:
        yield Finding.wrong(
            "runs",
            f"run {run.run_id} of {run.job_name}: its process {worker.pid} ended without a word; "
            "the next command or tick notes that, and `laion backfill --missing` does its work",
        )
    if not dead:
        count = len(list_unfinished(instance))
        yield Finding.sound("runs", f"{count:,} wait or are under way")


def look_at_history(settings: Settings, instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Finds runs that should have been removed by now."""
    from laion_assets.definitions import build_defs
    from laion_assets.runs.clean_history import find_old_runs
    from laion_assets.stores.disk_space import measure_folder

    checks = build_defs(settings).resolve_asset_graph().asset_check_keys
    keep_days = settings.keep_history_days
    old = find_old_runs(instance, checks, keep_days + CLEANING_LATE_DAYS)
    size = (
        f"{measure_folder(settings.history_dir) / 1e6:,.1f} MB"
        if settings.catalog is None
        else "in Postgres"
    )
    count = instance.get_runs_count()
    if old:
        yield Finding.wrong(
            "history",
            f"{size}, {len(old):,} of {count:,} runs ended over {keep_days:g} days ago and are not "
            "needed; turn on the schedule `daily_clean_history`, or run the job `clean_history`",
        )
    else:
        yield Finding.sound("history", f"{size}, {say_amount(count, 'run')}")
