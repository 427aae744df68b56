"""`laion doctor` with a history: the daemon, dead runs, old runs; as a program."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from laion_assets.cli.environment import load_settings
from laion_assets.definitions import build_defs
from laion_assets.orchestration.dead_runs import WORKER_TAG
from laion_assets.partitions import SHARDS_NAME
from laion_assets.runs.instance import open_instance
from laion_assets_tests.integration.conftest import Shell, release_source, write_source

pytestmark = pytest.mark.integration


def ask(shell: Shell) -> tuple[dict[str, list[str]], int]:
    result = shell.run("laion", "doctor", "--json")
    found = json.loads(result.stdout)
    wrong: dict[str, list[str]] = {}
    for finding in found["findings"]:
        if not finding["is_sound"]:
            wrong.setdefault(finding["part"], []).append(finding["text"])
    assert found["is_sound"] == (not wrong)
    return wrong, result.returncode


def test_the_exit_status_says_whether_something_is_wrong(shell: Shell) -> None:
    release_source(shell, write_source(shell, "one"))
    assert shell.run("laion", "discover").returncode == 0

    assert ask(shell) == ({}, 0)
    lines = shell.run("laion", "doctor").stdout.splitlines()
    assert {line.split(":")[0] for line in lines} >= {"ok    daemon", "ok    runs", "ok    history"}

    Path(shell.settings.raw_dir / "one.parquet").unlink()
    wrong, status = ask(shell)
    assert (list(wrong), status) == (["raw files"], 1)
    printed = shell.run("laion", "doctor")
    assert printed.returncode == 1
    assert "wrong raw files: " in printed.stdout
    assert printed.stderr == ""


def test_settings_that_cannot_be_used_are_a_finding(shell: Shell) -> None:
    shell.variables["LAION_PICTURES"] = "all"

    wrong, status = ask(shell)

    assert (list(wrong), status) == (["settings"], 1)


@pytest.mark.exhaustive
def test_a_silent_daemon_and_a_dead_run_are_found(shell: Shell) -> None:
    write_source(shell, "one")
    shell.load_and_release()
    defs = build_defs(shell.settings)
    with shell.enter(), open_history() as instance:
        instance.add_dynamic_partitions(SHARDS_NAME, ["one"])
        worker = {"run": "x", "host": os.uname().nodename, "pid": 2**22 - 1, "start": "1"}
        run = instance.create_run_for_job(
            defs.resolve_job_def("ingest_shards"),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": "one"},
        )
        tag = {WORKER_TAG: json.dumps({**worker, "run": run.run_id})}
        instance.add_run_tags(run.run_id, tag)
        schedule = defs.resolve_schedule_def("daily_refresh")
        instance.add_instigator_state(_turn_on(schedule.name))

    wrong, status = ask(shell)

    assert status == 1
    assert "daily_refresh are on, but the daemon was never heard; start it" in wrong["daemon"][0]
    assert f"run {run.run_id} of ingest_shards: its process {2**22 - 1} ended" in wrong["runs"][0]
    # It did not note what it found.
    with shell.enter(), open_history() as instance:
        found = instance.get_run_by_id(run.run_id)
        assert found
        assert not found.is_finished


@contextmanager
def open_history() -> Iterator[dg.DagsterInstance]:
    """The history, as it is: a command would note which runs have died."""
    load_settings()
    with open_instance() as instance:
        yield instance


def _turn_on(name: str) -> InstigatorState:
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="laion_assets.definitions")
    )
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), name)
    data = ScheduleInstigatorData("0 6 * * *", start_timestamp=1.0)
    return InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)


@pytest.mark.exhaustive
def test_a_history_that_nobody_cleans_is_found(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(shell, "one")
    for _ in range(2):
        assert shell.run("laion", "backfill", "one", "--no-refresh").returncode == 0
    assert "history" not in ask(shell)[0]
    monkeypatch.setattr("laion_assets.operations.diagnose_runs.CLEANING_LATE_DAYS", 0)
    shell.variables["LAION_KEEP_HISTORY_DAYS"] = "0"

    (text,) = ask(shell)[0]["history"]

    assert "turn on the schedule `daily_clean_history`" in text
