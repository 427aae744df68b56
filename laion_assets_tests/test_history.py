"""What Dagster's history says of runs that somebody cancelled."""

import json
import multiprocessing
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Event

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import should_retry

from laion_assets.history import HistoryLogs
from laion_assets.settings import find_log_format
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow


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


@pytest.fixture(params=["SQLite", "Postgres"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the history is kept."""
    if request.param == "Postgres":
        request.getfixturevalue("catalog")
    return str(request.param)


@pytest.fixture
def history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> Iterator[dg.DagsterInstance]:
    """An instance as `dagster.yaml` makes it, which starts runs of dead processes again."""
    monkeypatch.setenv("LAION_HISTORY_DIR", str(tmp_path / "history"))
    (tmp_path / "dagster.yaml").write_text(CONFIG, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert (tmp_path / "history" / "history").is_dir() == (place == "SQLite")
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


def test_a_run_whose_process_starts_while_it_is_cancelled_is_cancelled(
    history: dg.DagsterInstance,
) -> None:
    run = history.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTING)
    history.report_run_canceling(run)

    begun = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
    history.report_dagster_event(begun, run_id=run.run_id)
    assert read(history, run).status is dg.DagsterRunStatus.CANCELING
    history.report_run_failed(read(history, run), "its process ended")

    assert read(history, run).status is dg.DagsterRunStatus.CANCELED
    assert not should_retry(read(history, run), history)


def test_a_run_that_nobody_cancelled_fails_and_is_tried_again(
    history: dg.DagsterInstance,
) -> None:
    run = start(history)

    history.report_run_failed(run, "its process ended")

    assert read(history, run).status is dg.DagsterRunStatus.FAILURE
    assert should_retry(read(history, run), history)


def test_programs_that_find_an_empty_history_at_once_create_it_once(
    tmp_path: Path,
    place: str,
) -> None:
    """As Compose and systemd start Dagster's web server and daemon, with their health checks."""
    (tmp_path / "dagster.yaml").write_text(CONFIG, encoding="utf-8")
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(tmp_path),
        "LAION_HISTORY_DIR": str(tmp_path / "history"),
    }
    context = multiprocessing.get_context("forkserver")
    gate = context.Barrier(3)
    processes = [context.Process(target=open_history, args=(environment, gate)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0, 0], place


def open_history(environment: dict[str, str], gate: Barrier) -> None:
    """Opens it when all are there; what is left open is not waited for."""
    os.environ.update(environment)
    gate.wait(60)
    dg.DagsterInstance.get()
    os._exit(0)


def list_messages(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str | None]:
    return [
        entry.dagster_event.message
        for entry in instance.all_logs(run.run_id)
        if entry.dagster_event
    ]


def list_runs(folder: Path) -> list[Path]:
    return sorted((folder / "history" / "history" / "runs").glob("*-*.db"))


def describe_tables(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        (mode,) = connection.execute("PRAGMA journal_mode").fetchall()
        tables = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [*tables, revision, mode]


@pytest.mark.parametrize("place", ["SQLite"], indirect=True)
def test_the_file_of_a_run_has_the_tables_that_dagster_makes(
    history: dg.DagsterInstance, tmp_path: Path
) -> None:
    for run in (start(history), start(history)):
        history.report_engine_event("it says something", run)
    theirs = SqliteEventLogStorage(str(tmp_path / "theirs"))
    with theirs.run_connection("a"):
        expected = Path(theirs.path_for_shard("a"))
    found = [describe_tables(path) for path in list_runs(tmp_path)]
    assert found == [describe_tables(expected)] * 2


@pytest.mark.parametrize("place", ["SQLite"], indirect=True)
def test_a_file_that_a_power_cut_left_empty_gets_its_tables(
    history: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = start(history)
    (tmp_path / "history" / "history" / "runs" / f"{run.run_id}.db").touch()

    history.report_engine_event("it says something", run)

    assert "it says something" in list_messages(history, run)


def test_what_a_killed_process_said_is_in_the_history(
    history: dg.DagsterInstance, tmp_path: Path
) -> None:
    run = start(history)
    killed = multiprocessing.get_context("forkserver").Process(
        target=say_and_die, args=(dict(os.environ), str(tmp_path), run.run_id)
    )
    killed.start()
    killed.join()

    assert killed.exitcode == -signal.SIGKILL
    assert list_messages(history, run)[:20] == list(map(str, range(20)))
    assert read(history, run).status is dg.DagsterRunStatus.FAILURE


def say_and_die(environment: dict[str, str], folder: str, run_id: str) -> None:
    os.environ.update(environment)
    instance = dg.DagsterInstance.from_config(folder)
    run = instance.get_run_by_id(run_id)
    assert run
    for number in range(20):
        instance.report_engine_event(str(number), run)
    instance.report_run_failed(run)
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_web_ui_hears_of_an_event_while_its_run_keeps_the_file_open(
    history: dg.DagsterInstance, tmp_path: Path
) -> None:
    run, is_heard = start(history), Event()
    history.report_engine_event("before", run)
    with dg.DagsterInstance.from_config(str(tmp_path)) as other:
        other.event_log_storage.watch(run.run_id, None, lambda *_: is_heard.set())
        history.report_engine_event("it says something", run)

        # A second is enough, unless the machine is busy.
        assert is_heard.wait(60)


def test_a_run_whose_file_was_deleted_can_still_end(
    history: dg.DagsterInstance, tmp_path: Path
) -> None:
    """As `laion purge` and `clean_history` of another process delete it."""
    run = start(history)
    history.report_engine_event("it says something", run)
    for path in list_runs(tmp_path):
        path.unlink()

    history.report_run_failed(run)

    assert read(history, run).status is dg.DagsterRunStatus.FAILURE


@pytest.mark.exhaustive
def test_a_history_can_be_emptied_and_used_again(history: dg.DagsterInstance) -> None:
    run = start(history)
    history.report_engine_event("it says something", run)

    history.event_log_storage.wipe()

    assert list_messages(history, run) == []
    history.report_engine_event("it says another thing", run)
    assert list_messages(history, run) == ["it says another thing"]


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a"]))
def told(context: dg.AssetExecutionContext) -> None:
    """Says something through Dagster, and then fails if it is told to."""
    context.log.warning('it says "hello"\nand more')
    if "broken" in context.run.tags:
        raise ValueError("broken")


def run_told(folder: Path, **tags: str) -> None:
    (folder / "dagster.yaml").write_text(CONFIG, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        dg.materialize(
            [told], instance=instance, partition_key="a", tags=tags, raise_on_error=False
        )


@pytest.mark.exhaustive
@pytest.mark.usefixtures("place")
def test_runs_are_printed_as_json_if_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAION_HISTORY_DIR", str(tmp_path / "history"))
    monkeypatch.setenv("LAION_LOG_FORMAT", "JSON")
    run_told(tmp_path, broken="yes")

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (said,) = (line for line in lines if line["message"] == 'it says "hello"\nand more')
    assert (said["level"], said["step"]) == ("warning", "told")
    assert said["time"].endswith("+00:00")
    events = {line["event"]: line for line in lines if "event" in line}
    assert events["ASSET_MATERIALIZATION_PLANNED"]["shard"] == "a"
    assert "ValueError: broken" in events["STEP_FAILURE"]["error"]
    assert {line["run"] for line in lines} == {said["run"]}


def test_runs_print_nothing_to_standard_output_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAION_HISTORY_DIR", str(tmp_path / "history"))
    monkeypatch.delenv("LAION_LOG_FORMAT", raising=False)
    run_told(tmp_path)

    assert capsys.readouterr().out == ""


def test_another_format_of_the_log_is_refused() -> None:
    with raises("log-format-unknown"):
        find_log_format({"LAION_LOG_FORMAT": "xml"})


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_writes_the_logs_does_not_hear_ctrl_c(tmp_path: Path) -> None:
    def list_children() -> set[str]:
        tasks = Path("/proc/self/task").iterdir()
        return {pid for task in tasks for pid in (task / "children").read_text().split()}

    def hears_ctrl_c(pid: str) -> bool:
        (blocked,) = re.findall(r"^SigBlk:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
        return not int(blocked, 16) & 1 << (signal.SIGINT - 1)

    before = list_children()
    with HistoryLogs(str(tmp_path)).capture_logs(["run", "compute_logs", "step"]):
        programs = list_children() - before
        assert [pid for pid in programs if hears_ctrl_c(pid)] == []
        assert hears_ctrl_c("self")
    assert len(programs) == 4
