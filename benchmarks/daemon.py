"""Backfills and the sensor through Dagster's daemon, with figures.

Run `python -m benchmarks.daemon [batch] [corrupt] [beside] [--at-once 2]` from the repository root;
without a name it does all three:

* batch: eight shards are dropped into the folder with the sensor on, then one more, then the last
  is touched: how many runs and refreshes follow, and how soon;
* corrupt: a backfill of twenty shards, one of them broken;
* beside: a backfill of 120 small shards while two readers ask DuckDB and Lance all the time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeAlias

import lance

from benchmarks.measure import report_run
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.settings import REPOSITORY
from laion_assets.stores.database import Database
from laion_assets_tests.integration.web_ui import (
    ENDED,
    Run,
    WebUi,
    run_in_background,
    run_web_ui,
    wait_for,
)

DEFINITIONS = """
from laion_assets.definitions import build_defs
from laion_assets.settings import Settings

defs = build_defs(Settings.from_environment(), discovery_interval_s=10)
"""
LIMIT_S = 3600
# A reader that never rests has a core for itself, and measures that.
REST_S = 0.1
# How often a reader read, and what failed.
Answers: TypeAlias = "multiprocessing.Queue[tuple[int, list[str]]]"


@dataclass(frozen=True)
class Place:
    """A folder with an instance of its own: `dagster.yaml` but for the number of runs at once."""

    folder: Path
    at_once: int

    def prepare(self) -> None:
        """Writes what the commands read."""
        text = (REPOSITORY / "dagster.yaml").read_text(encoding="utf-8")
        text = re.sub(
            r"(max_concurrent_runs|dequeue_num_workers): \d+", rf"\1: {self.at_once}", text
        )
        self.folder.mkdir(parents=True)
        (self.folder / "dagster.yaml").write_text(text, encoding="utf-8")
        (self.folder / "impatient.py").write_text(DEFINITIONS, encoding="utf-8")
        self.source.mkdir()

    @property
    def source(self) -> Path:
        """Folder of the shards."""
        return self.folder / "source"

    @property
    def data_dir(self) -> Path:
        """Folder of all that is made."""
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """What the commands find; this folder has no `.env`."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PWD": str(self.folder),
            "DAGSTER_HOME": str(self.folder),
            "LAION_DATA_DIR": str(self.data_dir),
            "LAION_SHARDS": str(self.source / "*.parquet"),
            "LAION_HISTORY_DIR": str(self.data_dir / "dagster"),
        }

    def run(self, *command: str) -> None:
        """Runs a command to its end."""
        with run_in_background(command, self.folder, self.environment, self.log) as process:
            assert process.wait() == 0, self.log.read_text(encoding="utf-8")

    @contextmanager
    def open_web_ui(self) -> Iterator[WebUi]:
        """Runs the web server."""
        command = [sys.executable, "-m", "dagster_webserver", "-f", "impatient.py"]
        with run_web_ui(command, self.folder, self.environment, self.log) as web_ui:
            yield web_ui

    @contextmanager
    def run_daemon(self) -> Iterator[None]:
        """Runs the daemon."""
        command = [sys.executable, "-m", "dagster._daemon", "run", "-f", "impatient.py"]
        with run_in_background(command, self.folder, self.environment, self.log):
            yield

    @property
    def log(self) -> Path:
        """What the commands say."""
        return self.folder / "log.txt"

    def make_shards(self, count: int, rows: int) -> list[Path]:
        """Writes shards beside the folder that is looked into."""
        spec = SampleSpec(shard_count=count, rows_per_shard=rows)
        return write_sample_shards(self.folder / "made", ["Some name", "Another"], spec)

    def drop(self, shards: Sequence[Path]) -> list[str]:
        """Puts shards into the folder; returns their keys."""
        return [path.rename(self.source / path.name).stem for path in shards]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="batch, corrupt, beside; default: all")
    parser.add_argument("--at-once", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        for name in options.names or MEASURES:
            place = Place(Path(folder) / name, options.at_once)
            place.prepare()
            print(f"{name}, {options.at_once} runs at once", flush=True)
            MEASURES[name](place)


def measure_batch(place: Place) -> None:
    """Prints how many runs and refreshes follow from eight shards, from one, and from a touch."""
    *eight, one = place.make_shards(9, 2000)
    place.drop(eight)
    place.run(sys.executable, "-m", "laion_assets.cli.main", "status")
    with place.open_web_ui() as web_ui, place.run_daemon():
        web_ui.start_sensor("discover_shards")
        for number, (what, runs) in enumerate((("8 dropped", 8), ("1 more", 9)), 1):
            started = time.monotonic()
            wait_for(lambda: has_ended(web_ui, "refresh_counts", number), what, LIMIT_S)  # noqa: B023
            print_runs(web_ui, what, started)
            assert len(web_ui.list_runs("ingest_shards")) == runs
            (last,) = place.drop([one]) if number == 1 else [one.stem]
        os.utime(place.source / f"{last}.parquet")
        started = time.monotonic()
        wait_for(lambda: has_ended(web_ui, "ingest_shards", 10), "touched", LIMIT_S)
        ticks = len(web_ui.list_ticks("discover_shards"))
        wait_for(lambda: len(web_ui.list_ticks("discover_shards")) > ticks + 1, "ticks", LIMIT_S)
        print_runs(web_ui, "touched", started)
        print(f"  steps of it: {web_ui.list_steps(web_ui.list_runs('ingest_shards')[0].run_id)}")


def measure_corrupt(place: Place) -> None:
    """Prints how twenty shards end, of which one is cut off."""
    shards = place.drop(place.make_shards(20, 500))
    broken = place.source / f"{shards[7]}.parquet"
    broken.write_bytes(broken.read_bytes()[:-100])
    runs = backfill(place, shards, print_failures)
    assert Counter(run.status for run in runs) == {"SUCCESS": 19, "FAILURE": 1}


def measure_beside(place: Place) -> None:
    """Prints how 120 shards end while two readers ask all the time."""
    rows = 300
    first, *others = place.drop(place.make_shards(121, rows))
    place.run(sys.executable, "-m", "laion_assets.cli.main", "backfill", first)
    with ExitStack() as stack:
        readers = [
            stack.enter_context(run_reader(read, place.data_dir))
            for read in (read_duckdb, read_lance)
        ]
        runs = backfill(place, others, lambda _: None)
        results = [stop() for stop in readers]
    for name, (reads, failures) in zip(("DuckDB", "Lance"), results, strict=True):
        print(f"  {name}: {reads} reads, {len(failures)} failed {failures[:3]}")
    assert {run.status for run in runs} == {"SUCCESS"}
    with Database(place.data_dir / "laion.duckdb").read() as connection:
        query = """
            SELECT count(*), count(DISTINCT (shard, row_index)), count(DISTINCT shard),
                (SELECT count(*) FROM rejected_images) FROM images
        """
        ((count, distinct, shard_count, rejected),) = connection.execute(query).fetchall()
    table = lance.dataset(place.data_dir / "lance" / "images.lance").to_table(
        columns=["shard", "row_index"]
    )
    pairs = set(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    print(
        f"  rows: DuckDB {count} ({distinct} distinct) of {shard_count} shards, "
        f"{rejected} rejected; Lance {table.num_rows} ({len(pairs)} distinct)"
    )
    assert count == distinct == table.num_rows == len(pairs) == 121 * rows - rejected


def backfill(place: Place, shards: Sequence[str], look: Callable[[WebUi], None]) -> list[Run]:
    """Backfills the shards through the daemon, prints how long it took, and returns the runs."""
    place.run(sys.executable, "-m", "laion_assets.cli.main", "discover")
    with place.open_web_ui() as web_ui:
        web_ui.launch_backfill("ingest_shards", shards)
        started = time.monotonic()
        known = len(web_ui.list_runs("ingest_shards"))
        with place.run_daemon():
            wait_for(
                lambda: has_ended(web_ui, "ingest_shards", known + len(shards)),
                "the backfill",
                LIMIT_S,
                pause_s=1,
            )
        print_runs(web_ui, f"{len(shards)} shards", started)
        look(web_ui)
        return web_ui.list_runs("ingest_shards")[: len(shards)]


def has_ended(web_ui: WebUi, job: str, count: int) -> bool:
    runs = web_ui.list_runs(job)
    return len(runs) >= count and {run.status for run in runs} <= ENDED


def print_runs(web_ui: WebUi, what: str, started: float) -> None:
    runs = web_ui.list_runs()
    print(f"  {what}: {time.monotonic() - started:.1f} s", end="")
    for job in ("ingest_shards", "refresh_counts"):
        statuses = Counter(run.status for run in runs if run.job == job)
        print(f"; {job} {dict(statuses)}", end="")
    lengths = sorted((run.end_s or 0) - (run.start_s or 0) for run in runs)
    print(f"; a run took {lengths[0]:.2f} to {lengths[-1]:.2f} s", flush=True)


def print_failures(web_ui: WebUi) -> None:
    for run in web_ui.list_runs("ingest_shards"):
        for failure in web_ui.list_failures(run.run_id):
            print(f"  {run.shard}: {failure['failureMetadata']['description']}")


@contextmanager
def run_reader(
    read: Callable[[Path, Event, Answers], None], place: Path
) -> Iterator[Callable[[], tuple[int, list[str]]]]:
    """Reads in a process of its own until the function that this yields is called."""
    context = multiprocessing.get_context("spawn")
    stopping = context.Event()
    answer: Answers = context.Queue()
    process = context.Process(target=read, args=(place, stopping, answer))
    process.start()

    def stop() -> tuple[int, list[str]]:
        stopping.set()
        return answer.get(timeout=120)

    try:
        yield stop
    finally:
        stopping.set()
        process.join(30)
        if process.pid and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)


def read_duckdb(data_dir: Path, stopping: Event, answer: Answers) -> None:
    def count() -> None:
        with Database(data_dir / "laion.duckdb").read() as connection:
            query = "SELECT shard, count(*), count(DISTINCT row_index) FROM images GROUP BY shard"
            rows = connection.execute(query).fetchall()
        doubled = [shard for shard, number, distinct in rows if number != distinct]
        assert not doubled, doubled

    answer.put(repeat(count, stopping))


def read_lance(data_dir: Path, stopping: Event, answer: Answers) -> None:
    def count() -> None:
        table = lance.dataset(data_dir / "lance" / "images.lance").to_table(
            columns=["shard", "row_index"], filter="row_index = 0"
        )
        doubled = [s for s, number in Counter(table["shard"].to_pylist()).items() if number > 1]
        assert not doubled, doubled

    answer.put(repeat(count, stopping))


def repeat(read: Callable[[], None], stopping: Event) -> tuple[int, list[str]]:
    """Reads until it is told to stop; returns how often, and how the failures read."""
    reads, failures = 0, []
    while not stopping.is_set():
        reads += 1
        try:
            read()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is counted
            failures.append(f"{type(error).__name__}: {error}")
        time.sleep(REST_S)
    return reads, failures


MEASURES = {"batch": measure_batch, "corrupt": measure_corrupt, "beside": measure_beside}


if __name__ == "__main__":
    report_run(main)
