"""What `test_ray.py` runs in a network of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from laion_assets.demo import sample_shards
from laion_assets.demo.sample_shards import DEFAULT_SPEC, SampleSpec, write_sample_shards
from laion_assets.settings import REPOSITORY
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.integration.conftest import Shell
from laion_assets_tests.integration.web_ui import run_in_background
from laion_assets_tests.servers.buckets import Buckets
from laion_assets_tests.servers.postgres import Postgres
from laion_assets_tests.servers.ray_nodes import (
    HEAD,
    WORKERS,
    RayNodes,
    is_alone,
    list_processes,
    open_loopback,
    run_ray,
)

if is_alone():
    open_loopback()
else:
    pytest.skip("`test_ray.py` runs these", allow_module_level=True)

SPEC = SampleSpec(shard_count=8, rows_per_shard=200, has_pictures=True)
ENCODER = {"LAION_EMBEDDINGS": "compute", "LAION_ENCODER": "demo"}
LIMIT_S = 900
# As the daemon has it, but for its patience: it looks after runs twice a minute.
POLLING = ("poll_interval_seconds: 30", "poll_interval_seconds: 3")
TABLES = ("rejected_images", "domain_counts", "site_counts", "entity_counts", "caption_matches")
QUERIES = {
    # What differs between two loads of the same file.
    "shards": "SELECT * EXCLUDE (load_id, run_id, loaded_at, lance_version) FROM shards",
    **{table: f"SELECT * FROM {table}" for table in TABLES},
    "pictures": "SELECT * FROM pictures",
}


@dataclass(frozen=True)
class Site:
    """A cluster, a daemon, and a machine for commands."""

    nodes: RayNodes
    shell: Shell

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Starts a command of the machine for commands."""
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=self.shell.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def load_on_two_nodes(self) -> None:
        """Calls a run that is under way failed, so that another one begins while it goes on.

        Neither gets further than to the lock of its shard before both are there.
        """
        with self.shell.enter():
            import dagster as dg

            running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
            with dg.DagsterInstance.get() as instance:
                run = instance.get_runs(running)[0]
                again = dg.RunsFilter(
                    statuses=[dg.DagsterRunStatus.STARTED],
                    tags={"dagster/parent_run_id": run.run_id},
                )
                store = LanceStore.of(self.shell.settings)
                with store.lock_shard(run.tags["dagster/partition"]):
                    instance.report_run_failed(run, "its node is silent")
                    wait_for(lambda: instance.get_runs(again))
                    nodes = (HEAD, *WORKERS)
                    assert any(list_processes(node, run.run_id) for node in nodes)

    def list_runs(self) -> list[dict[str, object]]:
        """Returns status, job, shard and tags of each run."""
        with self.shell.enter():
            import dagster as dg

            with dg.DagsterInstance.get() as instance:
                return [
                    {"status": run.status.value, "job": run.job_name, **run.tags}
                    for run in instance.get_runs()
                ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eight shards with pictures, where all nodes see them."""
    folder = tmp_path / "source"
    write_sample_shards(folder, ["Some Name"], SPEC)
    return folder


@pytest.fixture
def alone(tmp_path: Path, source: Path) -> Shell:
    """A single machine that has loaded, counted and released them."""
    shell = Shell(tmp_path / "alone", {"LAION_SHARDS": str(source / "*.parquet"), **ENCODER})
    loaded = shell.run("laion", "backfill", "--all", "--pictures")
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    return shell


@pytest.fixture
def site(tmp_path: Path, source: Path, buckets: Buckets, postgres: Postgres) -> Iterator[Site]:
    """A cluster with a daemon, and with the same shards."""
    shared = {
        **buckets.environment,
        "AWS_ALLOW_HTTP": "true",
        "LAION_DATA_DIR": buckets.create(),
        "LAION_CATALOG": postgres.create_database(),
    }
    programs = Path(sys.executable).parent
    base = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    with run_ray(tmp_path / "nodes", {**base, **shared}) as nodes:
        home = tmp_path / "commands"
        variables = {
            **shared,
            **ENCODER,
            "LAION_HOME": str(home),
            "LAION_SHARDS": str(source / "*.parquet"),
            "LAION_RAY": nodes.jobs,
            "DAGSTER_HOME": str(home),
        }
        shell = Shell(home / "data", variables)
        home.mkdir()
        for name in ("dagster.yaml", "workspace.yaml"):
            text = (REPOSITORY / name).read_text("utf-8").replace(*POLLING)
            (home / name).write_text(text, "utf-8")
        command = ["dagster-daemon", "run", "--workspace", str(home / "workspace.yaml")]
        log = tmp_path / "daemon.log"
        with run_in_background(command, home, shell.environment, log):
            wait_for(lambda: "daemons" in log.read_text("utf-8"))
            yield Site(nodes, shell)


def wait_for(is_there: Callable[[], object]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not is_there():
        assert time.monotonic() < limit
        time.sleep(0.05)


def read_table(shell: Shell) -> pa.Table:
    with shell.enter():
        table = LanceStore.of(shell.settings).open("images").to_table()
    return table.sort_by([("shard", "ascending"), ("row_index", "ascending")])


def show_release(shell: Shell) -> dict[str, str]:
    shown: dict[str, str] = json.loads(shell.run("laion", "release", "show", "--json").stdout)
    return shown


def compare(site: Site, alone: Shell) -> None:
    """Compares all that two places have, value for value."""
    assert read_table(site.shell).equals(read_table(alone))
    here, there = show_release(alone), show_release(site.shell)
    for name in ("content_sha256", "columns_sha256", "count_digests"):
        assert there[name] == here[name], name
    for query in QUERIES.values():
        answers = [s.run("laion", "sql", f"{query} ORDER BY ALL") for s in (site.shell, alone)]
        assert [answer.returncode for answer in answers] == [0, 0], answers
        assert answers[0].stdout == answers[1].stdout, query


def test_a_node_that_dies_changes_nothing(site: Site, alone: Shell) -> None:
    """It dies while it loads a shard; the run starts again on another node."""
    told = site.shell.run("laion", "doctor")
    assert told.returncode == 0, told.stdout
    assert sum("ok    ray: node 127.0.0." in line for line in told.stdout.splitlines()) == 3

    victim = WORKERS[0]
    raws = site.nodes.home(victim)
    loading = site.start("laion", "backfill", "--all", "--pictures")
    # It has fetched a shard, and loads it.
    wait_for(lambda: list(raws.rglob("raw/*.json")) and list_processes(victim, "execute_run"))
    site.nodes.kill(victim)
    output, _ = loading.communicate(timeout=LIMIT_S)

    assert loading.returncode == 0, output
    runs = site.list_runs()
    assert "FAILURE" in {run["status"] for run in runs}
    assert any("dagster/retry_number" in run for run in runs)
    compare(site, alone)


def test_outages_and_a_shard_that_two_nodes_load_change_nothing(
    site: Site, alone: Shell, postgres: Postgres, buckets: Buckets
) -> None:
    loading = site.start("laion", "backfill", "--all", "--pictures")
    wait_for(lambda: "STARTED" in {run["status"] for run in site.list_runs()})
    site.load_on_two_nodes()
    postgres.stop()
    time.sleep(5)
    postgres.start()
    wait_for(lambda: "STARTED" in {run["status"] for run in site.list_runs()})
    with buckets.fail_all():
        time.sleep(10)
    output, _ = loading.communicate(timeout=LIMIT_S)

    assert loading.returncode == 0, output
    compare(site, alone)


def test_ctrl_c_cancels_the_runs_and_the_next_command_goes_on(site: Site, alone: Shell) -> None:
    loading = site.start("laion", "backfill", "--all", "--pictures")
    wait_for(lambda: "STARTED" in {run["status"] for run in site.list_runs()})
    loading.send_signal(signal.SIGINT)
    output, _ = loading.communicate(timeout=LIMIT_S)

    assert loading.returncode == 130, output
    assert "laion: stopped" in output
    wait_for(lambda: {run["status"] for run in site.list_runs()} <= {"CANCELED", "SUCCESS"})
    assert "CANCELED" in {run["status"] for run in site.list_runs()}

    again = site.start("laion", "backfill", "--all", "--pictures")
    output, _ = again.communicate(timeout=LIMIT_S)
    assert again.returncode == 0, output
    compare(site, alone)


def test_the_demo_runs_on_ray_and_goes_again(
    site: Site, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = SampleSpec(rows_per_shard=500, has_pictures=True)
    monkeypatch.setattr(
        sample_shards, "write_sample_shards", partial(write_sample_shards, spec=few)
    )
    name = partial(sample_shards.sample_shard_name, DEFAULT_SPEC)
    monkeypatch.setattr(sample_shards, "sample_shard_name", lambda _, index: name(index))

    made = site.shell.run("laion", "demo")

    assert made.returncode == 0, made.stdout + made.stderr
    assert "What was made" in made.stdout
    jobs = Counter(run["job"] for run in site.list_runs())
    assert jobs == {"ingest_shards": 7, "add_pictures": 7, "refresh_counts": 1}
    place = site.shell.variables["LAION_DATA_DIR"]
    assert len([name for name in buckets.list_names(place) if "/shards/" in name]) == 7

    removed = site.shell.run("laion", "demo", "--remove")

    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert not [name for name in buckets.list_names(place) if "/shards/" in name]
    assert json.loads(site.shell.run("laion", "status", "--json").stdout)["shards"] == []
