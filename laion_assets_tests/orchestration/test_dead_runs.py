"""Which runs are taken for dead, and which for busy."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from laion_assets.orchestration.dead_runs import (
    LONGEST_RUN,
    LONGEST_START,
    PROCESS_TAG,
    WORKER_TAG,
    Worker,
    describe_worker,
    end_dead_runs,
    is_busy,
)
from laion_assets.orchestration.processes import find_process

pytestmark = pytest.mark.slow

# No process has it: the kernel's limit is below.
NOBODY = 99_999_999


def add_run(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    tags: Mapping[str, str] | None = None,
    run_id: str | None = None,
) -> dg.DagsterRun:
    location = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="here")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "ingest_shards")
    run = dg.DagsterRun(
        job_name="ingest_shards",
        status=status,
        tags=tags,
        run_id=run_id,
        remote_job_origin=origin,
    )
    instance.add_run(run)
    return run


def name_worker(run_id: str, **changes: object) -> dict[str, str]:
    """Returns the tags of a run of this process, with some facts changed."""
    worker = json.loads(describe_worker(run_id)[WORKER_TAG])
    return {WORKER_TAG: json.dumps(worker | changes)}


def report_pid(instance: dg.DagsterInstance, run: dg.DagsterRun, pid: int) -> None:
    """Writes what Dagster's own worker writes as it starts."""
    instance.report_engine_event("Started process", run, EngineEventData.in_process(pid))


@pytest.mark.parametrize(
    ("changes", "is_dead"),
    [
        ({}, False),
        ({"pid": NOBODY}, True),
        ({"pid": NOBODY, "host": "elsewhere"}, False),
        ({"start": "1"}, True),
        ({"run": "another run, of which this one is a repetition", "pid": NOBODY}, False),
    ],
    ids=["lives", "is gone", "is on another machine", "has a reused id", "tag was inherited"],
)
def test_a_run_is_dead_if_its_own_process_on_this_machine_is(
    instance: dg.DagsterInstance, changes: dict[str, object], is_dead: bool
) -> None:
    run = add_run(instance, tags=name_worker("a", **changes), run_id="a")

    assert end_dead_runs(instance) == ([run.run_id] if is_dead else [])


def test_a_zombie_is_dead(instance: dg.DagsterInstance) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    # Ended, and not asked for yet.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    run = add_run(instance, tags={PROCESS_TAG: str(process.pid)})

    assert end_dead_runs(instance) == [run.run_id]
    process.wait()


def test_a_worker_that_has_not_named_its_machine_yet_is_left_alone(
    instance: dg.DagsterInstance,
) -> None:
    run = add_run(instance)
    report_pid(instance, run, NOBODY)

    assert end_dead_runs(instance) == []
    assert not Worker(NOBODY, None, "", datetime.now(tz=UTC).timestamp()).is_dead
    long_ago = datetime.now(tz=UTC) - LONGEST_START - timedelta(seconds=1)
    assert Worker(NOBODY, None, "", long_ago.timestamp()).is_dead


def test_a_process_that_began_after_the_run_is_another_one() -> None:
    here, process = socket.gethostname(), find_process(os.getpid())
    assert process
    assert process.started_at
    assert Worker(os.getpid(), here, "", process.started_at - 60).is_dead
    assert not Worker(os.getpid(), here, "", process.started_at + 60).is_dead


def test_a_dead_run_that_was_being_cancelled_is_canceled(instance: dg.DagsterInstance) -> None:
    status = dg.DagsterRunStatus.CANCELING
    add_run(instance, status, name_worker("a", pid=NOBODY), run_id="a")

    assert end_dead_runs(instance) == ["a"]
    run = instance.get_run_by_id("a")
    assert run
    assert run.status == dg.DagsterRunStatus.CANCELED


def test_a_run_in_the_queue_is_never_forgotten(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_busy(instance)
    monkeypatch.setattr("laion_assets.orchestration.dead_runs.LONGEST_RUN", -LONGEST_RUN)
    add_run(instance, dg.DagsterRunStatus.STARTED, name_worker("a", host="elsewhere"), "a")
    # Of a process of another machine nothing was heard for too long.
    assert not is_busy(instance)

    add_run(instance, dg.DagsterRunStatus.STARTED, name_worker("b"), "b")
    assert is_busy(instance)
    instance.delete_run("b")
    assert not is_busy(instance)

    add_run(instance, dg.DagsterRunStatus.QUEUED)
    assert is_busy(instance)
