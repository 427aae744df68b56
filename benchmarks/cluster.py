"""How much quicker more nodes of Ray load shards, and what Dagster and Ray cost a run.

Run `python -m benchmarks.cluster [--shards 24] [--rows 200000] [--think 60] [--nodes 1 2 3]
[--output FILE]` from the repository root. All nodes are on this machine, and share its processors
with Postgres and the bucket. So each file comes from a server that takes a fixed time to send it,
which stands for the network: what is shown is how well waits of many runs overlap, and not how many
processors there are.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Watch
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets_tests.servers.buckets import Buckets, run_buckets
from laion_assets_tests.servers.loopback import PatientServer, QuietHandler, serve
from laion_assets_tests.servers.postgres import Postgres, run_postgres
from laion_assets_tests.servers.ray_nodes import (
    ALONE,
    WORKERS,
    find_obstacle,
    is_alone,
    isolate,
    open_loopback,
)
from laion_assets_tests.servers.ray_site import Site, run_site

# A file is sent in so many pieces, evenly over the time that it takes.
PIECES = 20
# Times as quick as one node, at least.
AIMS = {2: 1.8, 3: 2.6}


@dataclass(frozen=True)
class RunTimes:
    """Seconds of one run.

    Attributes:
        waiting: in the queue.
        launching: from its turn to its first sign of life, most of it Ray's and Python's start.
        steps: by asset.
        rest: Dagster's, from the start to the end, beside the steps.
    """

    waiting: float
    launching: float
    steps: Mapping[str, float]
    rest: float


@dataclass(frozen=True)
class Found:
    """What loading with so many nodes took.

    Attributes:
        wall_s: of the whole command.
        runs: of each shard.
    """

    wall_s: float
    runs: Sequence[RunTimes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shards", type=int, default=24)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--think", type=float, default=60, help="seconds a file takes to come")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if not is_alone():
        if obstacle := find_obstacle():
            parser.error(obstacle)
        command = isolate(sys.executable, "-m", "benchmarks.cluster", *sys.argv[1:])
        os.execvpe(command[0], command, {**os.environ, ALONE: "1"})  # noqa: S606 - ourselves
    open_loopback()
    watch, found = Watch(), dict[int, Found]()
    with tempfile.TemporaryDirectory(prefix="laion-cluster-") as name:
        folder = Path(name)
        spec = SampleSpec(shard_count=options.shards, rows_per_shard=options.rows)
        files = write_sample_shards(folder / "source", ["Some Name"], spec)
        with (
            serve_slowly(files, options.think) as address,
            run_postgres() as postgres,
            run_buckets() as buckets,
        ):
            for nodes in options.nodes:
                place = folder / str(nodes)
                place.mkdir()
                found[nodes] = measure(place, nodes, address, buckets, postgres)
                print(f"{nodes} nodes: {found[nodes].wall_s:,.0f} s", flush=True)
    report = describe(found, options, watch)
    print(report)
    if options.output:
        options.output.write_text(report, "utf-8")


@contextmanager
def serve_slowly(files: Sequence[Path], think_s: float) -> Iterator[str]:
    """Serves files, each in a fixed time; yields the addresses as `LAION_SHARDS` has them."""
    by_name = {f"/{n:05}.parquet": path.read_bytes() for n, path in enumerate(files)}
    closing = threading.Event()

    class Handler(QuietHandler):
        def do_HEAD(self) -> None:  # noqa: N802 - the name that http.server looks for
            self._begin()

        def do_GET(self) -> None:  # noqa: N802
            body = self._begin()
            size = max(1, -(-len(body) // PIECES))
            for first in range(0, len(body), size):
                if closing.wait(think_s / PIECES):
                    return
                self.wfile.write(body[first : first + size])

        def _begin(self) -> bytes:
            body = by_name.get(self.path, b"")
            # The vectors that could lie beside a file are asked for, too.
            headers = {"Content-Length": str(len(body)), "ETag": '"1"'}
            self.start(200 if self.path in by_name else 404, headers)
            return body

    server = PatientServer(("127.0.0.1", 0), Handler)
    host, port = server.server_address[:2]
    with serve(server, closing):
        yield f"http://{host!s}:{port}/{{00000..{len(files) - 1:05}}}.parquet"


def measure(folder: Path, nodes: int, address: str, buckets: Buckets, postgres: Postgres) -> Found:
    """Loads all shards with so many nodes, into a bucket of their own."""
    settings = {"LAION_SHARDS": address}
    with run_site(folder, buckets, postgres, settings, WORKERS[: nodes - 1]) as site:
        started = time.perf_counter()
        loading = site.start("laion", "backfill", "--all", "--no-refresh")
        output, _ = loading.communicate()
        wall_s = time.perf_counter() - started
        if loading.returncode:
            raise RuntimeError(output)
        return Found(wall_s, read_runs(site))


def read_runs(site: Site) -> list[RunTimes]:
    """Returns what Dagster knows of the runs."""
    with site.shell.enter():
        import dagster as dg

        found = []
        with dg.DagsterInstance.get() as instance:
            for record in instance.get_run_records(dg.RunsFilter(job_name="ingest_shards")):
                run_id = record.dagster_run.run_id
                stats = instance.get_run_stats(run_id)
                steps = {
                    step.step_key: step.end_time - step.start_time
                    for step in instance.get_run_step_stats(run_id)
                    if step.start_time and step.end_time
                }
                assert stats.start_time
                assert stats.end_time
                launched = stats.launch_time or stats.start_time
                found.append(
                    RunTimes(
                        waiting=launched - record.create_timestamp.timestamp(),
                        launching=stats.start_time - launched,
                        steps=steps,
                        rest=stats.end_time - stats.start_time - sum(steps.values()),
                    )
                )
        return found


def describe(found: Mapping[int, Found], options: argparse.Namespace, watch: Watch) -> str:
    """Returns the report."""
    steps = [
        *dict.fromkeys(step for one in found.values() for run in one.runs for step in run.steps)
    ]
    heads = [
        "nodes",
        "wall s",
        "times as quick",
        "waits for Ray and Python",
        *steps,
        "rest of the run",
    ]
    lines = [
        "# More nodes of Ray",
        "",
        f"Written by `python -m benchmarks.cluster`: {options.shards} shards of {options.rows:,} "
        f"rows, from a server that takes {options.think:g} seconds for each file. All nodes are on "
        f"one machine with {os.cpu_count()} processors, which Postgres and the bucket share. The "
        "fixed time stands for the network.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{' ---: |' * len(heads)}",
    ]
    base = next(iter(found.values())).wall_s
    for nodes, one in found.items():
        aim = f" ({AIMS[nodes]} at least)" if nodes in AIMS else ""
        medians = [
            statistics.median(values)
            for values in (
                [run.launching for run in one.runs],
                *([run.steps[step] for run in one.runs if step in run.steps] for step in steps),
                [run.rest for run in one.runs],
            )
        ]
        cells = [str(nodes), f"{one.wall_s:,.0f}", f"{base / one.wall_s:.2f}{aim}"]
        lines.append(f"| {' | '.join([*cells, *(f'{value:.1f}' for value in medians)])} |")
    return "\n".join(
        [*lines, "", "The last columns are seconds of one run, medians.", "", watch.describe(), ""]
    )


if __name__ == "__main__":
    main()
