"""Gives runs to the queue of Dagster's daemon, which starts them on Ray, and follows them.

They are no Dagster backfill: a run of one is not tried again after its node has died, because the
backfill counts as complete once its runs are queued.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import dagster as dg
from dagster._core.code_pointer import CodePointer
from dagster._core.origin import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    JobPythonOrigin,
    RepositoryPythonOrigin,
)
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from sqlalchemy.exc import OperationalError

from laion_assets.errors import LaionError
from laion_assets.orchestration.dead_runs import STARTED_BY_TAG
from laion_assets.orchestration.overtaken import PARTITION_TAG
from laion_assets.runs.backfill import Order, Outcome, read_metadata
from laion_assets.runs.ray_cluster import (
    check_library,
    count_slots,
    name_job,
    stop_job,
    write_variables,
)
from laion_assets.runs.run_failures import read_failure
from laion_assets.runs.tick import MAX_RUNS
from laion_assets.stores.postgres import PATIENCE_S

# As workspace.yaml has them.
MODULE, DEFINITIONS = "laion_assets.definitions", "defs"
REPOSITORY_NAME = "__repository__"
# Which variables a run has; dagster-ray reads it, and a run that is tried again has it as well.
RAY_TAG = "dagster-ray/config"
# The part of the daemon that takes runs from the queue, and how often it says that it lives.
QUEUE_DAEMON, HEARTBEAT_S = "QUEUED_RUN_COORDINATOR", 30
LOOK_INTERVAL_S = 1.0
# Ctrl-C leaves 3 seconds for all of them.
CANCELLERS = 8


def check_queue(instance: dg.DagsterInstance) -> None:
    """Checks that runs in the queue will be started.

    Raises:
        LaionError: nothing takes runs from the queue, or it would not start them on Ray.
    """
    check_library()
    from laion_assets.runs.launching import RunQueue

    if not isinstance(instance.run_coordinator, RunQueue):
        raise LaionError(
            "LAION_RAY: the `dagster.yaml` of this project is from before, and starts runs here; "
            "move it away, and a new one is written",
            code="instance-file-old",
        )
    beat = instance.get_daemon_heartbeats().get(QUEUE_DAEMON)
    if beat is None or time.time() - beat.timestamp > 10 * HEARTBEAT_S:
        raise LaionError(
            "LAION_RAY: runs are started by Dagster's daemon, and it was not heard for 5 minutes; "
            "start it with `dagster-daemon run`",
            code="daemon-silent",
        )


class RunFollower:
    """Queues runs and waits for their ends."""

    def __init__(
        self, instance: dg.DagsterInstance, ray: str, variables: Mapping[str, str] | None = None
    ) -> None:
        """Queues nothing yet.

        Args:
            instance: Dagster's history, which daemon and nodes share.
            ray: where Ray takes jobs.
            variables: the settings of the runs; None: those of this process.
        """
        self._instance = instance
        self._ray = ray
        self._variables = variables
        # The runs that have not ended, and what each is for.
        self._flying: dict[str, Order] = {}

    def run_all(
        self,
        orders: Sequence[Order],
        start: Callable[[str], None],
        end: Callable[[str, Outcome], None],
    ) -> list[Outcome]:
        """Runs all of them, as many at once as Ray takes, and returns how each ended.

        Args:
            orders: what to run.
            start: hears what is running.
            end: hears how a run has ended, as soon as that is known.

        Raises:
            KeyboardInterrupt: a signal asked to stop; all that have not ended are cancelled.
        """
        waiting = deque((order, str(uuid.uuid4())) for order in orders)
        outcomes: dict[Order, Outcome] = {}
        lost_at: float | None = None
        try:
            while waiting or self._flying:
                try:
                    self._queue_more(waiting)
                    ended = self._find_ended()
                    lost_at = None
                except OperationalError:
                    # The runs go on without this process, and wait for Postgres as well.
                    lost_at = lost_at or time.monotonic()
                    if time.monotonic() - lost_at > PATIENCE_S:
                        raise
                    ended = []
                for order, outcome in ended:
                    outcomes[order] = outcome
                    end(order.name, outcome)
                start(_name_all(list(self._flying.values())))
                if self._flying or waiting:
                    time.sleep(LOOK_INTERVAL_S)
        except KeyboardInterrupt:
            self._cancel_all()
            raise
        return [outcomes[order] for order in orders]

    def _queue_more(self, waiting: deque[tuple[Order, str]]) -> None:
        """Puts as many runs into the queue as it is to have, each under its id."""
        # More of them would only wait, and would have to be cancelled.
        most = max(MAX_RUNS, 2 * count_slots(self._ray))
        while waiting and len(self._flying) < most:
            order, run_id = waiting[0]
            run = self._instance.get_run_by_id(run_id) or self._create(order, run_id)
            # Where Postgres was away in between, it may be in the queue already.
            if run.status is dg.DagsterRunStatus.NOT_STARTED:
                # Our queue asks nothing of a workspace.
                self._instance.submit_run(run_id, cast("Any", None))
            self._flying[run_id] = order
            waiting.popleft()

    def _create(self, order: Order, run_id: str) -> dg.DagsterRun:
        tags = {
            **order.job.run_tags,
            STARTED_BY_TAG: "laion",
            RAY_TAG: json.dumps({"env_vars": write_variables(self._variables)}),
        }
        if order.shard is not None:
            tags[PARTITION_TAG] = order.shard
        return self._instance.create_run_for_job(
            order.job,
            run_id=run_id,
            run_config=dict(order.config),
            tags=tags,
            remote_job_origin=_name_remotely(order.job.name),
            job_code_origin=_name_code(order.job.name),
        )

    def _find_ended(self) -> list[tuple[Order, Outcome]]:
        runs = self._instance.get_runs(dg.RunsFilter(run_ids=list(self._flying)))
        finished = [run for run in runs if run.is_finished]
        # All is read before any is forgotten: Postgres may go away in between.
        ended = {
            run.run_id: self._describe(run) for run in finished if not self._is_tried_again(run)
        }
        for run in finished:
            # A few seconds pass before the daemon has another run for one that it starts again.
            successor = run.tags.get(AUTO_RETRY_RUN_ID_TAG)
            if run.run_id not in ended and successor:
                self._flying[successor] = self._flying.pop(run.run_id)
        return [(self._flying.pop(run_id), outcome) for run_id, outcome in ended.items()]

    def _is_tried_again(self, run: dg.DagsterRun) -> bool:
        """Returns whether the daemon starts a run again, or has not said yet that it does not."""
        if run.status is not dg.DagsterRunStatus.FAILURE or not self._instance.run_retries_enabled:
            return False
        return run.tags.get(WILL_RETRY_TAG) != "false"

    def _describe(self, run: dg.DagsterRun) -> Outcome:
        record = self._instance.get_run_record_by_id(run.run_id)
        started_at = record.start_time if record else None
        ended_at = record.end_time if record else None
        is_done = run.status is dg.DagsterRunStatus.SUCCESS
        entries = self._instance.all_logs(
            run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        return Outcome(
            reason=None if is_done else read_failure(self._instance, run).reason,
            duration_s=(ended_at or 0.0) - (started_at or ended_at or 0.0),
            metadata=read_metadata(e.dagster_event for e in entries if e.dagster_event),
        )

    def _cancel_all(self) -> None:
        with ThreadPoolExecutor(CANCELLERS) as pool:
            list(pool.map(self._cancel, list(self._flying)))

    def _cancel(self, run_id: str) -> None:
        """Cancels a run; what cannot be cancelled now is seen in the web UI."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return
        self._instance.report_run_canceling(run)
        if run.status is dg.DagsterRunStatus.QUEUED:
            self._instance.report_run_canceled(run)
            return
        with suppress(LaionError):
            stop_job(self._ray, name_job(run_id))


def _name_remotely(job: str) -> RemoteJobOrigin:
    """Returns what the daemon and the web UI know a job by."""
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=MODULE)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target)
    return RemoteRepositoryOrigin(location, REPOSITORY_NAME).get_job_origin(job)


def _name_code(job: str) -> JobPythonOrigin:
    """Returns how a node finds a job: by `dagster` in its PATH."""
    code = CodePointer.from_module(MODULE, DEFINITIONS, working_directory=None)
    origin = RepositoryPythonOrigin(sys.executable, code, entry_point=DEFAULT_DAGSTER_ENTRY_POINT)
    return origin.get_job_origin(job)


def _name_all(orders: Sequence[Order]) -> str:
    if not orders:
        return ""
    return orders[0].name + (f" and {len(orders) - 1:,} more" if len(orders) > 1 else "")
