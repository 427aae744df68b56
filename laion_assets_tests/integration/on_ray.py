"""What `test_ray.py` runs in a network of its own."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.definitions import build_defs
from laion_assets.demo import sample_shards
from laion_assets.demo.sample_shards import DEFAULT_SPEC, SampleSpec, write_sample_shards
from laion_assets.embeddings.resource import EmbeddingRules
from laion_assets.orchestration.other_nodes import TASK
from laion_assets.partitions import SHARDS_NAME
from laion_assets.pictures.resource import PictureRules
from laion_assets.runs.backfill import Order, Outcome, run_job
from laion_assets.runs.queued_runs import RunFollower
from laion_assets.runs.ray_cluster import ask, start_job
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.locks import name_digest
from laion_assets_tests.integration.conftest import Shell
from laion_assets_tests.pictures.painting import paint
from laion_assets_tests.servers.buckets import Buckets
from laion_assets_tests.servers.picture_server import Answer, PictureServer, serve_pictures
from laion_assets_tests.servers.picture_server import picture as send_picture
from laion_assets_tests.servers.postgres import Postgres
from laion_assets_tests.servers.ray_nodes import (
    HEAD,
    WORKERS,
    is_alone,
    list_processes,
    open_loopback,
)
from laion_assets_tests.servers.ray_site import LIMIT_S, Site, run_site, wait_for

if is_alone():
    open_loopback()
else:
    pytest.skip("`test_ray.py` runs these", allow_module_level=True)

SPEC = SampleSpec(shard_count=8, rows_per_shard=200, has_pictures=True)
ENCODER = {"LAION_EMBEDDINGS": "compute", "LAION_ENCODER": "demo"}
TABLES = (
    *("rejected_images", "shard_domains", "domain_counts", "site_counts"),
    *("entity_counts", "caption_matches"),
)
QUERIES = {
    # What differs between two loads of the same file.
    "shards": "SELECT * EXCLUDE (load_id, run_id, loaded_at, lance_version) FROM shards",
    **{table: f"SELECT * FROM {table}" for table in TABLES},
    "pictures": "SELECT * FROM pictures",
}


@dataclass(frozen=True)
class RaySite(Site):
    """A cluster whose nodes can be hit."""

    buckets: Buckets

    def load_on_two_nodes(self) -> None:
        """Calls a run that is under way failed, so that another one begins while it goes on.

        Neither gets further than to the lock of its shard before both are there.
        """
        with self.shell.enter():
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

    def kill_in(self, step: str, part: str) -> str:
        """Kills a worker in a step, while it writes an object; returns the run that it had.

        Args:
            step: of a run.
            part: of the object's name.
        """
        while True:
            node, run_id = wait_for(lambda: self.find_step(step, WORKERS))
            with self.buckets.stop(part, node) as gate:
                assert gate.reached.wait(LIMIT_S)
                # It may have been done with the step before the gate was shut.
                if self.find_step(step, [node]) == (node, run_id):
                    self.nodes.kill(node)
                    return run_id

    def find_step(self, step: str, nodes: Iterable[str]) -> tuple[str, str] | None:
        """Returns one of these nodes that has a run in this step, and the run; None if none has."""
        with self.shell.enter():
            running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
            with dg.DagsterInstance.get() as instance:
                for run in instance.get_runs(running):
                    for stats in instance.get_run_step_stats(run.run_id, [step]):
                        for node in nodes if stats.end_time is None else ():
                            if list_processes(node, run.run_id):
                                return node, run.run_id
        return None

    def count_tries(self, run_id: str, step: str) -> int:
        """Returns how often a step of a run was tried to its end."""
        with self.shell.enter(), dg.DagsterInstance.get() as instance:
            (stats,) = instance.get_run_step_stats(run_id, [step])
            return len(stats.attempts_list)

    def run(self, *orders: Order) -> list[Outcome]:
        """Has the daemon run something, and returns how each ended."""
        with self.shell.enter(), dg.DagsterInstance.get() as instance:
            follower = RunFollower(instance, self.nodes.jobs)
            return follower.run_all(orders, lambda _: None, lambda *_: None)

    def read_jobs(self) -> str:
        """Returns what all runs have printed."""
        jobs: Any = ask(self.nodes.jobs, "api/jobs/")
        names = [job["submission_id"] for job in jobs if job["submission_id"]]
        logs = (ask(self.nodes.jobs, f"api/jobs/{name}/logs")["logs"] for name in names)
        return "\n".join(logs)

    def list_messages(self, job: str) -> list[str]:
        """Returns what the events of all runs of a job say."""
        with self.shell.enter(), dg.DagsterInstance.get() as instance:
            runs = instance.get_runs(dg.RunsFilter(job_name=job))
            return [event.user_message for run in runs for event in instance.all_logs(run.run_id)]

    def list_runs(self) -> list[dict[str, object]]:
        """Returns id, status, job, shard and tags of each run."""
        with self.shell.enter(), dg.DagsterInstance.get() as instance:
            return [
                {
                    "id": run.run_id,
                    "status": run.status.value,
                    "job": run.job_name,
                    **run.tags,
                }
                for run in instance.get_runs()
            ]

    def list_failed(self) -> set[object]:
        """Returns the ids of the runs that have failed."""
        return {run["id"] for run in self.list_runs() if run["status"] == "FAILURE"}


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
def site(
    tmp_path: Path,
    source: Path,
    buckets: Buckets,
    postgres: Postgres,
    request: pytest.FixtureRequest,
) -> Iterator[RaySite]:
    """A cluster with a daemon, and with the same shards; the parameter is the head's slots."""
    settings = {"LAION_SHARDS": str(source / "*.parquet"), **ENCODER}
    slots = getattr(request, "param", 1)
    with run_site(tmp_path, buckets, postgres, settings, head_slots=slots) as site:
        yield RaySite(site.nodes, site.shell, buckets)


def read_table(shell: Shell) -> pa.Table:
    with shell.enter():
        table = LanceStore.of(shell.settings).open("images").to_table()
    return table.sort_by([("shard", "ascending"), ("row_index", "ascending")])


def list_commits(store: LanceStore) -> list[str]:
    """Returns the shard of each commit that put rows of one into Lance."""
    dataset = store.open("images")
    made = [dataset.read_transaction(version["version"]) for version in dataset.versions()]
    properties = [transaction.transaction_properties or {} for transaction in made if transaction]
    return [found["shard"] for found in properties if "sha256" in found]


def show_release(shell: Shell) -> dict[str, str]:
    shown: dict[str, str] = json.loads(shell.run("laion", "release", "show", "--json").stdout)
    return shown


def compare(site: RaySite, alone: Shell) -> None:
    """Compares all that two places have, value for value."""
    assert read_table(site.shell).equals(read_table(alone))
    here, there = show_release(alone), show_release(site.shell)
    for name in ("content_sha256", "columns_sha256", "count_digests"):
        assert there[name] == here[name], name
    for query in QUERIES.values():
        answers = [s.run("laion", "sql", f"{query} ORDER BY ALL") for s in (site.shell, alone)]
        assert [answer.returncode for answer in answers] == [0, 0], answers
        assert answers[0].stdout == answers[1].stdout, query


def test_a_node_that_dies_changes_nothing(site: RaySite, alone: Shell) -> None:
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


# The head takes none, as on a cluster of machines: it is not to be killed.
@pytest.mark.parametrize("site", [0], indirect=True)
def test_nodes_that_die_in_later_steps_change_nothing(site: RaySite, alone: Shell) -> None:
    """One dies in `pictures`, one in `embeddings`, so that all runs wait; one in a release."""
    loading = site.start("laion", "backfill", "--all", "--pictures")
    killed = {site.kill_in("pictures", "/lance/images.lance/data/")}
    killed.add(site.kill_in("embeddings", "/lance/images.lance/data/"))
    wait_for(lambda: site.list_failed() == killed)
    # They wait for a node, and are not failed for it.
    statuses = {run["status"] for run in site.list_runs()}
    assert "QUEUED" in statuses
    assert statuses <= {"FAILURE", "QUEUED", "STARTING", "SUCCESS"}
    site.nodes.start_killed()
    killed.add(site.kill_in("release", "/lance/images.lance/_indices/"))
    site.nodes.start_killed()
    output, _ = loading.communicate(timeout=LIMIT_S)

    assert loading.returncode == 0, output
    runs = site.list_runs()
    assert len(killed) == 3
    assert site.list_failed() == killed
    assert {run["dagster/parent_run_id"] for run in runs if "dagster/retry_number" in run} == killed
    done = Counter(run["job"] for run in runs if run["status"] == "SUCCESS")
    assert done == {"ingest_shards": 8, "add_pictures": 8, "refresh_counts": 1}
    compare(site, alone)


def test_a_run_that_lost_its_lock_commits_nothing_and_begins_again(
    site: RaySite, alone: Shell, postgres: Postgres
) -> None:
    shard = sample_shards.sample_shard_name(SPEC, 0)
    digest = name_digest(shard)
    store = LanceStore.of(site.shell.settings)
    # An object has this name when all is written, right before the commit.
    with site.buckets.stop(f"/lance/images.lance/data/{digest}_") as gate:
        loading = site.start("laion", "backfill", "--all", "--pictures")
        assert gate.reached.wait(LIMIT_S)
        (run_id,) = (r["id"] for r in site.list_runs() if r.get("dagster/partition") == shard)
        ended = postgres.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE application_name LIKE '%: {digest}'",
            site.shell.variables["LAION_CATALOG"],
        )
        assert ended == [(True,)]
        # As another node would; it is free as soon as that session has ended.
        with site.shell.enter():
            taken = store.lock_shard(shard).acquire()
    with site.shell.enter(), taken:
        wait_for(lambda: site.count_tries(str(run_id), "lance_images") == 1)
        assert shard not in list_commits(store)
    output, _ = loading.communicate(timeout=LIMIT_S)

    assert loading.returncode == 0, output
    assert site.count_tries(str(run_id), "lance_images") == 2
    # Of eight runs five waited for one of the three slots, and none was failed for it.
    assert Counter((run["job"], run["status"]) for run in site.list_runs()) == {
        ("ingest_shards", "SUCCESS"): 8,
        ("add_pictures", "SUCCESS"): 8,
        ("refresh_counts", "SUCCESS"): 1,
    }
    with site.shell.enter():
        assert set(Counter(list_commits(store)).values()) == {1}
    compare(site, alone)


def test_outages_and_a_shard_that_two_nodes_load_change_nothing(
    site: RaySite, alone: Shell, postgres: Postgres, buckets: Buckets
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


def test_ctrl_c_cancels_the_runs_and_the_next_command_goes_on(site: RaySite, alone: Shell) -> None:
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
    site: RaySite, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
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
    # The names of seven shards are counted on all nodes.
    messages = site.list_messages("refresh_counts")
    assert any(re.fullmatch(r"[1-9] other nodes help", message) for message in messages), messages
    place = site.shell.variables["LAION_DATA_DIR"]
    assert len([name for name in buckets.list_names(place) if "/shards/" in name]) == 7

    removed = site.shell.run("laion", "demo", "--remove")

    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert not [name for name in buckets.list_names(place) if "/shards/" in name]
    assert json.loads(site.shell.run("laion", "status", "--json").stdout)["shards"] == []


ROWS, HOSTS = 300, 30
FETCHING = {"LAION_PICTURES": "fetch", "LAION_FETCH_CONTACT": "somebody@example.org"}


def answer_late(data: bytes) -> Answer:
    """Answers with a picture, after a while."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await send_picture(data)(writer)

    return answer


@pytest.fixture
def server() -> Iterator[PictureServer]:
    """Has a picture for most rows, on each address that begins with 127."""
    with serve_pictures("0.0.0.0") as served:  # noqa: S104 - there is nothing but loopback
        served.answers |= {f"/{n}.jpg": answer_late(paint(n, 64, 48)) for n in range(ROWS) if n % 7}
        yield served


def order_pictures(shell: Shell, shard: str) -> Order:
    """Orders the pictures and vectors of a shard, few of which are worth a share."""
    pictures = PictureRules.build(shell.settings).model_dump(exclude_none=True)
    slow = {"allowed_networks": ["127.0.0.0/8"], "connections": 4, "share_urls": 50}
    vectors = EmbeddingRules.build(shell.settings).model_dump(exclude_none=True)
    config = {
        "picture_rules": {"config": {**pictures, **slow}},
        "embedding_rules": {"config": {**vectors, "chunk_rows": 20}},
    }
    job = build_defs(shell.settings).resolve_job_def("add_pictures")
    return Order(shard, job, shard, {"resources": config})


def fetch_alone(site: RaySite, server: PictureServer, source: Path, *shards: str) -> Shell:
    """Brings shards that have URLs alone to a cluster and to one machine; this one fetches them."""
    alone = Shell(source.with_name("alone"), {"LAION_SHARDS": str(source / "*.parquet"), **ENCODER})
    for number, shard in enumerate(shards, start=1):
        hosts = [f"127.0.{number}.{1 + row % HOSTS}" for row in range(ROWS)]
        urls = [server.url(f"/{row}.jpg", host) for row, host in enumerate(hosts)]
        rows = {"url": urls, "caption": [f"row {row}" for row in range(ROWS)]}
        pq.write_table(pa.table(rows), source / f"{shard}.parquet")
    for shell in (site.shell, alone):
        shell.variables.update(FETCHING)
        loaded = shell.run("laion", "backfill", *shards, "--no-refresh")
        assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    with alone.enter(), dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(SHARDS_NAME, shards)
        for order in (order_pictures(alone, shard) for shard in shards):
            assert run_job(order.job, instance, order.shard, order.config).reason is None
    assert len(server.asked) == len(shards) * (ROWS + HOSTS)
    server.asked.clear()
    return alone


def compare_pictures(site: RaySite, alone: Shell) -> None:
    """Compares the shards with their pictures and vectors, value for value."""
    assert read_table(site.shell).equals(read_table(alone))
    query = "SELECT * EXCLUDE (seconds, fetched_at) FROM pictures ORDER BY ALL"
    answers = [shell.run("laion", "sql", query).stdout for shell in (site.shell, alone)]
    assert answers[0] == answers[1]


def test_nodes_share_a_shard_and_one_of_them_dies(
    site: RaySite, source: Path, tmp_path: Path, server: PictureServer, buckets: Buckets
) -> None:
    """The others do what it had not put into the bucket."""
    alone = fetch_alone(site, server, source, "fetched")
    place = site.shell.variables["LAION_DATA_DIR"]

    def list_chunks() -> list[str]:
        return [name for name in buckets.list_names(place) if "/unfinished/" in name]

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(site.run, order_pictures(site.shell, "fetched"))
        # Each node has put its first chunk.
        wait_for(lambda: len(list_chunks()) >= 3 or running.done())
        helpers = [node for node in (HEAD, *WORKERS) if list_processes(node, TASK)]
        assert len(helpers) == 2, helpers
        site.nodes.kill(helpers[-1])
        buckets.download(place, tmp_path / "bucket")
        (outcome,) = running.result()
    kept = [
        url
        for path in tmp_path.glob("bucket/**/pictures/**/*.arrow")
        for url in pa.ipc.open_stream(path.read_bytes()).read_all()["url"].to_pylist()
    ]

    assert outcome.reason is None
    compare_pictures(site, alone)
    assert list_chunks() == []
    said = re.findall(
        r"(pictures|embeddings) - other nodes that do a share: (\d)", site.read_jobs()
    )
    assert (said[0], said[-1]) == (("pictures", "2"), ("embeddings", "1"))
    asked = Counter(name for name in server.asked if "robots" not in name)
    assert len(asked) == ROWS
    # What anybody had put into the bucket was not asked again.
    assert kept
    assert {asked[f"{url.hostname}{url.path}"] for url in map(urlsplit, kept)} == {1}


def test_runs_that_take_every_slot_end(site: RaySite, source: Path, server: PictureServer) -> None:
    """None waits for a share, and no share waits for a run."""
    shards = ("one", "three", "two")
    alone = fetch_alone(site, server, source, *shards)

    outcomes = site.run(*(order_pictures(site.shell, shard) for shard in shards))

    assert [outcome.reason for outcome in outcomes] == [None] * 3
    compare_pictures(site, alone)
    asked = Counter(name for name in server.asked if "robots" not in name)
    assert set(asked.values()) == {1}
    assert len(asked) == 3 * ROWS


def test_nodes_build_parts_of_an_index(site: RaySite, alone: Shell) -> None:
    """One of them dies meanwhile, and another builds what it had begun."""
    loaded = site.shell.run("laion", "backfill", "--all", "--no-refresh")
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    module = "laion_assets_tests.integration.index_on_ray"
    command = f"{sys.executable} -m {module} {SPEC.rows_per_shard}"
    with site.shell.enter(), site.buckets.stop("/lance/images.lance/_indices/", WORKERS[0]) as gate:
        job = start_job(site.nodes.jobs, command)
        assert gate.reached.wait(LIMIT_S)
        site.nodes.kill(WORKERS[0])
    wait_for(lambda: ask(site.nodes.jobs, f"api/jobs/{job}")["status"] in ("SUCCEEDED", "FAILED"))

    said = str(ask(site.nodes.jobs, f"api/jobs/{job}/logs")["logs"])
    assert f"parts: {[1] * SPEC.shard_count}" in said, said
    assert "2 other nodes help" in said
    assert "a node that helped failed" in said
    site.nodes.start_killed()
    refreshed = site.shell.run("laion", "backfill", "--missing")
    assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr
    answers = [
        json.loads(shell.run("laion", "search", "a OR in OR of", "--json").stdout)
        for shell in (site.shell, alone)
    ]
    assert answers[0]["total"] == answers[1]["total"] > 0
