"""What Dagster's history says of runs that somebody cancelled."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import should_retry

CONFIG = """
storage:
  custom:
    module: laion_assets.history
    class: HistoryStorage
    config: {}
run_retries:
  enabled: true
  max_retries: 2
telemetry:
  enabled: false
"""


@dg.job
def idle() -> None:
    """A job without work."""


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance as `dagster.yaml` makes it, which starts runs of dead processes again."""
    monkeypatch.setenv("LAION_HISTORY_DIR", str(tmp_path / "history"))
    (tmp_path / "dagster.yaml").write_text(CONFIG, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def start(instance: dg.DagsterInstance) -> dg.DagsterRun:
    return instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTED)


def read(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found


def test_a_run_that_fails_while_it_is_cancelled_was_cancelled_and_stays_so(
    history: dg.DagsterInstance,
) -> None:
    run = start(history)
    history.report_run_canceling(run)

    history.report_run_failed(read(history, run), "its process ended")

    assert read(history, run).status is dg.DagsterRunStatus.CANCELED
    assert not should_retry(read(history, run), history)
    # What happened can still be read.
    failures = history.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert [entry.dagster_event.message for entry in failures if entry.dagster_event] == [
        "its process ended"
    ]


def test_a_run_that_nobody_cancelled_fails_and_is_tried_again(
    history: dg.DagsterInstance,
) -> None:
    run = start(history)

    history.report_run_failed(run, "its process ended")

    assert read(history, run).status is dg.DagsterRunStatus.FAILURE
    assert should_retry(read(history, run), history)
