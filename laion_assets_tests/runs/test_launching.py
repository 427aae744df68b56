"""Where runs run, and how many at once, as `dagster.yaml` has it."""

import json
from functools import partial

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig

from laion_assets.runs.launching import ONE_A_SHARD
from laion_assets.runs.ray_cluster import Node, count_slots, list_nodes
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.file_server import FileServer, send


def read_queue(instance: dg.DagsterInstance) -> RunQueueConfig:
    config = instance.get_concurrency_config().run_queue_config
    assert config is not None
    return config


def test_without_ray_runs_are_processes_and_two_run_at_once(opened: dg.DagsterInstance) -> None:
    assert isinstance(opened.run_launcher, dg.DefaultRunLauncher)
    assert read_queue(opened).max_concurrent_runs == 2
    assert read_queue(opened).tag_concurrency_limits == []


def test_on_ray_as_many_runs_run_as_its_nodes_have_processors(
    opened: dg.DagsterInstance, head: FileServer
) -> None:
    assert list_nodes(head.origin) == [
        Node("a", "10.0.0.1", 0),
        Node("c", "10.0.0.2", 4),
        Node("b", "10.0.0.3", 2),
    ]
    assert read_queue(opened).max_concurrent_runs == 6
    assert read_queue(opened).tag_concurrency_limits == [ONE_A_SHARD]


def test_while_ray_is_away_runs_wait(
    opened: dg.DagsterInstance, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAION_RAY", server.origin)
    with raises("ray-unreachable"):
        list_nodes(server.origin)
    assert count_slots(server.origin) == 0
    assert read_queue(opened).max_concurrent_runs == 0


@pytest.mark.slow
@pytest.mark.usefixtures("head")
def test_on_ray_runs_are_its_jobs(opened: dg.DagsterInstance) -> None:
    launcher = opened.run_launcher
    assert type(launcher).__name__ == "RayStarter"
    assert launcher.supports_check_run_worker_health


@pytest.mark.slow
def test_a_run_that_the_head_does_not_know_for_a_moment_goes_on(
    opened: dg.DagsterInstance, head: FileServer
) -> None:
    """As a head that is busy, or starts again; nothing is answered that is not put there."""
    head.put("/api/version", send(200, json.dumps({"ray_version": "2.60.0"}).encode()))
    run = dg.DagsterRun("ingest_shards", status=dg.DagsterRunStatus.STARTED)
    ask = partial(opened.run_launcher.check_run_worker_health, run)
    job = f"/api/jobs/dagster-run-{run.run_id}"
    found = []
    for is_known in (False, False, True, False, False, False):
        status = {"status": "RUNNING", "entrypoint": "", "type": "SUBMISSION"}
        head.put(job, send(*((200, json.dumps(status).encode()) if is_known else (404, b""))))
        found.append(ask().status)

    assert found == [WorkerStatus.RUNNING] * 5 + [WorkerStatus.UNKNOWN]
