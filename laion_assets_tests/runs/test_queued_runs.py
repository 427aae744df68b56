"""Runs in the queue, with a thread in the daemon's place; `test_ray.py` has the daemon and Ray."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG
from dagster._daemon.types import DaemonHeartbeat

from laion_assets.definitions import build_defs
from laion_assets.operations.diagnose_runs import look_at_daemon
from laion_assets.runs import queued_runs
from laion_assets.runs.backfill import Order, Outcome, discover_shards
from laion_assets.runs.queued_runs import QUEUE_DAEMON, RAY_TAG, RunFollower, check_queue
from laion_assets.settings import Settings
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.file_server import FileServer, send

pytestmark = pytest.mark.slow


@pytest.fixture
def orders(settings: Settings, opened: dg.DagsterInstance, write_shard: WriteShard) -> list[Order]:
    """Two shards to be loaded."""
    for shard in "ab":
        write_shard(shard, url=["https://a.test/1.jpg"], caption=["a fox"])
    discover_shards(settings, opened)
    job = build_defs(settings).resolve_job_def("ingest_shards")
    return [Order(shard, job, shard) for shard in "ab"]


@contextmanager
def run_daemon(
    instance: dg.DagsterInstance, work: Callable[[dg.DagsterRun], None]
) -> Iterator[None]:
    """Does something with each run that comes into the queue, until the block is left."""
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.05):
            for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
                work(run)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued_runs, "LOOK_INTERVAL_S", 0.05)


def follow(
    instance: dg.DagsterInstance, head: FileServer, orders: list[Order]
) -> tuple[list[Outcome], list[str], list[str]]:
    """Returns how each run ended, the order in which they ended, and what was said to run."""
    ended: list[str] = []
    said: list[str] = []
    follower = RunFollower(instance, head.origin, {"LAION_PICTURES": "none"})
    outcomes = follower.run_all(orders, said.append, lambda name, _: ended.append(name))
    return outcomes, ended, said


def end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Ends a run well."""
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run_id=run.run_id
    )


def test_runs_are_followed_to_their_ends(
    opened: dg.DagsterInstance, head: FileServer, orders: list[Order]
) -> None:
    def work(run: dg.DagsterRun) -> None:
        if run.tags["dagster/partition"] == "a":
            opened.report_run_failed(run, "its node is gone")
            opened.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})
        else:
            end(opened, run)

    with run_daemon(opened, work):
        outcomes, ended, said = follow(opened, head, orders)

    assert [outcome.reason is None for outcome in outcomes] == [False, True]
    assert "its node is gone" in str(outcomes[0].reason)
    assert sorted(ended) == ["a", "b"]
    assert said[-1] == ""
    (run,) = opened.get_runs(dg.RunsFilter(tags={"dagster/partition": "b"}))
    assert "dagster/backfill" not in run.tags
    assert "LAION_PICTURES=none" in json.loads(run.tags[RAY_TAG])["env_vars"]
    assert run.remote_job_origin is not None
    assert run.remote_job_origin.location_name == "laion_assets.definitions"


def test_a_run_that_is_started_again_counts_by_its_last_try(
    opened: dg.DagsterInstance, head: FileServer, orders: list[Order]
) -> None:
    tried: list[str] = []

    def work(run: dg.DagsterRun) -> None:
        if run.tags["dagster/partition"] == "b" or "again" in run.tags:
            end(opened, run)
            return
        opened.report_run_failed(run, "its node is gone")
        time.sleep(0.2)
        again = opened.create_run_for_job(
            orders[0].job,
            tags={**run.tags, "again": "yes", WILL_RETRY_TAG: "false"},
            remote_job_origin=run.remote_job_origin,
            job_code_origin=run.job_code_origin,
        )
        opened.add_run_tags(run.run_id, {AUTO_RETRY_RUN_ID_TAG: again.run_id})
        tried.append(again.run_id)
        end(opened, again)

    with run_daemon(opened, work):
        outcomes, _, _ = follow(opened, head, orders)

    assert [outcome.reason for outcome in outcomes] == [None, None]
    assert len(tried) == 1


def test_ctrl_c_cancels_what_has_not_ended(
    opened: dg.DagsterInstance, head: FileServer, orders: list[Order]
) -> None:
    def stop(_said: str) -> None:
        """One of them runs, the other waits."""
        first = opened.get_runs()[0]
        opened.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, first.job_name),
            run_id=first.run_id,
        )
        head.put(f"/api/jobs/dagster-run-{first.run_id}/stop", send(200, b"{}"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RunFollower(opened, head.origin).run_all(orders, stop, lambda *_: None)

    statuses = sorted(run.status.value for run in opened.get_runs())
    assert statuses == ["CANCELED", "CANCELING"]
    assert [request.method for request in head.requests if "stop" in request.path] == ["POST"]


@pytest.mark.usefixtures("head")
def test_a_queue_without_a_daemon_is_refused(opened: dg.DagsterInstance) -> None:
    with raises("daemon-silent"):
        check_queue(opened)
    (told,) = look_at_daemon(opened)
    assert not told.is_sound
    assert told.text.startswith("runs on Ray are on, but the daemon was never heard")

    opened.add_daemon_heartbeat(DaemonHeartbeat(time.time(), QUEUE_DAEMON, "one", []))
    check_queue(opened)
    (told,) = look_at_daemon(opened)
    assert told.is_sound


def test_an_instance_that_starts_runs_here_is_refused(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance, raises("instance-file-old"):
        check_queue(instance)
