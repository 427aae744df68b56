"""Backfills and the sensor through Dagster's web server and daemon, as an operator has them."""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from laion_assets.orchestration.dead_runs import WORKER_TAG
from laion_assets.settings import REPOSITORY
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.conftest import make_shard
from laion_assets_tests.integration.conftest import Shell, count_rows
from laion_assets_tests.integration.web_ui import (
    ENDED,
    Run,
    WebUi,
    run_in_background,
    run_web_ui,
    wait_for,
)

DAEMON = ["dagster-daemon", "run"]
# The sensor as it is, but for its patience.
IMPATIENT_DEFINITIONS = """
from laion_assets.definitions import build_defs
from laion_assets.settings import Settings

defs = build_defs(Settings.from_environment(), discovery_interval_s=1)
"""


def drop(shell: Shell, shard: str, content: bytes) -> Path:
    """Puts a file into the folder of the shards at once, as `mv` does."""
    path = Path(shell.variables["LAION_SHARDS"]).with_name(f"{shard}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_bytes(content)
    return unfinished.replace(path)


def find_ended(web_ui: WebUi, job: str, count: int) -> list[Run] | None:
    """Returns the runs of the job if so many have been started and all have ended."""
    return select_ended(web_ui.list_runs(job), count)


def select_ended(runs: list[Run], count: int) -> list[Run] | None:
    return runs if len(runs) >= count and {run.status for run in runs} <= ENDED else None


@dataclass(frozen=True)
class Operated:
    """A web server and a daemon with a backfill of the shards `a` and `bad`, and a shard `c`."""

    shell: Shell
    web_ui: WebUi
    bad: Path

    def list_runs(self, *shards: str) -> list[Run]:
        """Returns the runs of these shards, the newest first."""
        return [run for run in self.web_ui.list_runs("ingest_shards") if run.shard in shards]


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """They take longer to start than what each test asks of them; no two use the same shards."""
    folder = tmp_path_factory.mktemp("operated")
    shell = Shell(folder / "data", {"LAION_SHARDS": str(folder / "source" / "*.parquet")})
    drop(shell, "a", make_shard("a", rows=1))
    drop(shell, "c", make_shard("c"))
    bad = drop(shell, "bad", make_shard("bad")[:-20])
    assert shell.run("laion", "discover").returncode == 0
    log = folder / "log.txt"
    with run_web_ui(["dagster-webserver"], REPOSITORY, shell.forked_environment, log) as web_ui:
        # The daemon looks for backfills when it starts, and then every 30 seconds.
        web_ui.launch_backfill("ingest_shards", ["a", "bad"])
        with run_in_background(DAEMON, REPOSITORY, shell.forked_environment, log):
            yield Operated(shell, web_ui, bad)


def test_a_backfill_has_a_run_a_shard_and_a_bad_one_fails_alone_with_its_reason(
    operated: Operated,
) -> None:
    runs = wait_for(lambda: select_ended(operated.list_runs("a", "bad"), 2), "the backfill")
    (bad,) = (run.run_id for run in runs if run.shard == "bad")
    (failure,) = operated.web_ui.list_failures(bad)

    assert {run.shard: run.status for run in runs} == {"a": "SUCCESS", "bad": "FAILURE"}
    assert [counts["a"] for counts in count_rows(operated.shell.settings)] == [1, 1]
    reason = failure["failureMetadata"]["description"]
    assert reason.startswith(f"{operated.bad}: ")
    assert "\n" not in reason
    assert failure["error"]["message"].strip().endswith(reason)
    assert failure["error"]["cause"] is None


def test_a_killed_run_comes_back_and_a_cancelled_one_does_not(operated: Operated) -> None:
    shell, web_ui = operated.shell, operated.web_ui

    def find_worker(run_id: str) -> int | None:
        (run,) = (run for run in web_ui.list_runs() if run.run_id == run_id)
        pid: int | None = json.loads(run.tags.get(WORKER_TAG, "{}")).get("pid")
        return pid

    # Somebody fetches the shard, so that the runs are found in the middle of a step.
    with RawStore(shell.settings.raw_dir).lock("c"):
        cancelled = web_ui.launch_run("ingest_shards", "c")
        wait_for(lambda: find_worker(cancelled), "the run to cancel")
        web_ui.terminate_run(cancelled)
        wait_for(lambda: select_ended(operated.list_runs("c"), 1), "the cancellation")
        killed = web_ui.launch_run("ingest_shards", "c")
        os.kill(wait_for(lambda: find_worker(killed), "the run to kill"), signal.SIGKILL)
        wait_for(lambda: len(operated.list_runs("c")) > 2, "the repetition")
    again, *before = wait_for(lambda: select_ended(operated.list_runs("c"), 3), "its end")

    assert {run.run_id: run.status for run in before} == {killed: "FAILURE", cancelled: "CANCELED"}
    assert (again.status, again.tags["dagster/parent_run_id"]) == ("SUCCESS", killed)
    assert [counts["c"] for counts in count_rows(shell.settings)] == [3, 3]


@dataclass(frozen=True)
class Sensed:
    """A web server and a daemon with the sensor switched on, over an empty folder of shards."""

    shell: Shell
    web_ui: WebUi

    def list_runs(self, *shards: str) -> list[Run]:
        """Returns the runs of these shards, the newest first."""
        return [run for run in self.web_ui.list_runs("ingest_shards") if run.shard in shards]

    def list_ingested(self) -> list[str]:
        """Returns the shard of each run of `a`, `b` and `c`; all have succeeded."""
        runs = self.list_runs("a", "b", "c")
        assert {run.status for run in runs} == {"SUCCESS"}
        return sorted(run.shard or "" for run in runs)


@pytest.fixture(scope="module")
def sensed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sensed]:
    """The sensor is impatient; no two tests use the same shards."""
    folder = tmp_path_factory.mktemp("sensed")
    shell = Shell(folder / "data", {"LAION_SHARDS": str(folder / "source" / "*.parquet")})
    definitions, log = folder / "impatient.py", folder / "log.txt"
    definitions.write_text(IMPATIENT_DEFINITIONS, encoding="utf-8")
    place = ["--python-file", str(definitions)]
    # The history is made before server and daemon look for it at once.
    assert shell.run("laion", "status").returncode == 0
    with (
        run_web_ui(
            ["dagster-webserver", *place], REPOSITORY, shell.forked_environment, log
        ) as web_ui,
        run_in_background([*DAEMON, *place], REPOSITORY, shell.forked_environment, log),
    ):
        web_ui.start_sensor("discover_shards")
        yield Sensed(shell, web_ui)


@pytest.mark.exhaustive
def test_the_sensor_ingests_what_is_dropped_and_refreshes_once_a_batch(sensed: Sensed) -> None:
    shell, web_ui = sensed.shell, sensed.web_ui
    for shard in ("a", "b"):
        drop(shell, shard, make_shard(shard))
    first = wait_for(lambda: find_ended(web_ui, "refresh_counts", 1), "the first refresh")
    assert [run.status for run in first] == ["SUCCESS"]
    assert sensed.list_ingested() == ["a", "b"]

    last = drop(shell, "c", make_shard("c", rows=5))
    wait_for(lambda: find_ended(web_ui, "refresh_counts", 2), "the second refresh")
    assert sensed.list_ingested() == ["a", "b", "c"]

    os.utime(last)
    touched, *_ = wait_for(
        lambda: select_ended(sensed.list_runs("a", "b", "c"), 4), "a look at the touched file"
    )
    assert web_ui.list_steps(touched.run_id) == {
        "raw_shards": "SUCCESS",
        "images": "SKIPPED",
        "lance_images": "SKIPPED",
        "embeddings": "SKIPPED",
        "declared_columns": "SKIPPED",
    }
    ticks = len(web_ui.list_ticks("discover_shards"))
    wait_for(lambda: len(web_ui.list_ticks("discover_shards")) > ticks + 1, "two more ticks")
    refreshes = web_ui.list_runs("refresh_counts")
    statuses = Counter(tick["status"] for tick in web_ui.list_ticks("discover_shards")[1:])

    assert [run.status for run in refreshes] == ["SUCCESS", "SUCCESS"]
    assert statuses.keys() == {"SUCCESS", "SKIPPED"}
    assert count_rows(shell.settings) == ({"a": 3, "b": 3, "c": 5},) * 2


@pytest.mark.exhaustive
def test_the_status_says_when_what_may_pass_is_tried_again_and_names_what_cannot(
    sensed: Sensed,
) -> None:
    shell = sensed.shell
    # A folder stands where the lock of the shard has to be.
    Path(RawStore(shell.settings.raw_dir).lock("later").lock_file).mkdir(parents=True)
    bad = drop(shell, "bad", make_shard("bad")[:-20])
    drop(shell, "later", make_shard("later"))

    def read_lines() -> list[str] | None:
        lines = shell.run("laion", "status").stdout.splitlines()
        found = [line for line in lines if line.startswith(("bad: ", "later: "))]
        is_judged = ["not tried again", "next try at"]
        return found if [w for w in is_judged if w in "".join(found)] == is_judged else None

    wait_for(lambda: select_ended(sensed.list_runs("bad", "later"), 2), "both to fail")
    first, second = wait_for(read_lines, "both to be judged", pause_s=1)
    told = shell.run("laion", "status", "--json")
    reasons = [tick["skipReason"] for tick in sensed.web_ui.list_ticks("discover_shards")]

    assert first.startswith(f"bad: {bad}: ")
    assert first.endswith("; not tried again until it changes")
    assert re.search(r"Is a directory.*; next try at \d{4}-\d\d-\d\d \d\d:\d\d UTC$", second)
    assert json.loads(told.stdout)["delays"] == [first, second]
    assert told.returncode == 1
    # In the ticks before both had failed, one of them was still asked for.
    said = [reason for reason in reasons if reason and "next try at" in reason]
    assert any(f"bad: {bad}: " in reason for reason in said)
