"""Cancels every step at random moments, as the button *Terminate* does, with figures.

Run `python -m benchmarks.cancel [--times 20] [--rows 300000] [STEP ...]` from the repository root.
Dagster's web server starts each run in a process of its own and cancels it. For each step it
prints how long a whole run takes, and the median and the longest time from the request to the end
of the run. After each cancellation the tables are compared with each other, and the next run has
to succeed.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.daemon import Place
from benchmarks.measure import report_run
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.lance_images.copy import compare_shards
from laion_assets.releases.catalog import newest_release
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.integration.web_ui import (
    ENDED,
    WebUi,
    run_in_background,
    run_web_ui,
    wait_for,
)
from laion_assets_tests.servers.file_server import Serve, run_file_server

LIMIT_S = 5.0
LONGEST_S = 600
# Runs start at once, without a daemon that takes them from a queue.
COORDINATOR = """
run_coordinator:
  module: dagster.core.run_coordinator
  class: DefaultRunCoordinator
"""
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
GET_STATUS = """query($run: ID!) { runOrError(runId: $run) { ... on Run { status
    stepStats { stepKey status startTime endTime } } } }"""


@dataclass(frozen=True)
class Rig:
    """A web server over a place with one shard."""

    web_ui: WebUi
    settings: Settings
    shard: str
    row_count: int

    def launch(self, job: str, *assets: str) -> str:
        """Starts a run of these assets alone; returns its id."""
        tags = [{"key": "dagster/partition", "value": self.shard}]
        selection = [{"path": [asset]} for asset in assets]
        params = {
            "selector": {
                **self.web_ui.repository,
                "jobName": job,
                "assetSelection": selection,
            },
            "runConfigData": {},
            "executionMetadata": {"tags": [] if job == REFRESH else tags},
        }
        launched = self.web_ui.ask(LAUNCH, params=params)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def has_started(self, run_id: str) -> bool:
        """Returns whether a step of the run has begun."""
        return bool(self.web_ui.ask(GET_STATUS, run=run_id)["stepStats"])

    def wait_for_end(self, run_id: str) -> str:
        """Returns how a run ended."""

        def find_end() -> str | None:
            status = str(self.web_ui.ask(GET_STATUS, run=run_id)["status"])
            return status if status in ENDED else None

        return wait_for(find_end, run_id, LONGEST_S, 0.05)

    def finish(self, job: str, *assets: str) -> float:
        """Runs assets to their end; returns the seconds of the steps."""
        run_id = self.launch(job, *assets)
        assert self.wait_for_end(run_id) == "SUCCESS", self.find_newest_failure()
        stats = self.web_ui.ask(GET_STATUS, run=run_id)["stepStats"]
        return float(sum(step["endTime"] - step["startTime"] for step in stats))

    def cancel(self, after_s: float, job: str, *assets: str) -> tuple[str, float]:
        """Cancels a run so long after its step began; returns how it ended, and how soon."""
        run_id = self.launch(job, *assets)
        wait_for(lambda: self.has_started(run_id), run_id, LONGEST_S, 0.05)
        time.sleep(after_s)
        started = time.monotonic()
        if self.web_ui.ask(GET_STATUS, run=run_id)["status"] not in ENDED:
            self.web_ui.ask(
                "mutation($run: String!) { terminateRun(runId: $run) { __typename } }", run=run_id
            )
        return self.wait_for_end(run_id), time.monotonic() - started

    def find_newest_failure(self) -> str:
        """Returns what the page of the newest run says."""
        newest, *_ = self.web_ui.list_runs()
        return f"{newest.run_id}: {self.web_ui.find_reason(newest.run_id)}"

    def check_tables(self) -> None:
        """Each table has the shard whole or not at all, and the newest release is complete."""
        store = LanceStore(self.settings.lance_dir)
        dataset = store.find("images")
        with Database(self.settings.database).read() as connection:
            compared = {c.shard: c for c in compare_shards(connection, dataset)}
            ((rejected,),) = connection.execute("SELECT count(*) FROM rejected_images").fetchall()
        (only,) = compared.values()
        assert only.duckdb_rows + rejected == self.row_count, only
        assert only.lance_rows == only.duckdb_rows, only
        newest = newest_release(store)
        assert newest
        assert store.open("images", newest.release).count_rows() == newest.row_counts["images"]
        counts = store.open("domain_counts", newest.release).to_table()["image_count"].to_pylist()
        assert sum(counts) == newest.row_counts["images"]

    def forget_counts(self) -> None:
        """Lets the names be counted anew."""
        with Database(self.settings.database).write() as connection:
            connection.execute("DELETE FROM caption_matches")
            connection.execute("DELETE FROM refreshes")

    def forget_raw(self) -> None:
        """Lets the shard be fetched anew."""
        for path in self.settings.raw_dir.glob(f"*{self.shard}*"):
            path.unlink()

    def copy_again(self) -> None:
        """Lets the release have something to index, and something new."""
        self.finish("ingest_shards", "lance_images")


INGEST, PICTURES, REFRESH = "ingest_shards", "add_pictures", "refresh_counts"
DECLARED = """
[columns.aspect_ratio]
sql = "CAST(width AS DOUBLE) / height"

[columns.caption_length]
sql = "length(caption)"
"""
# Cancels that come after the step's end do not count; so often is a step tried at most.
MOST_TRIES = 10
# Job, assets, and what makes them have work.
STEPS: dict[str, tuple[str, str, Callable[[Rig], None]]] = {
    "raw_shards": (INGEST, "raw_shards", Rig.forget_raw),
    "images": (INGEST, "images", lambda _: None),
    "lance_images": (INGEST, "lance_images", lambda _: None),
    "pictures": (PICTURES, "pictures", lambda _: None),
    "embeddings": (INGEST, "embeddings", lambda _: None),
    "declared_columns": (INGEST, "declared_columns", Rig.copy_again),
    "names": (REFRESH, "artists", lambda _: None),
    "domain_counts": (REFRESH, "domain_counts", Rig.forget_counts),
    "site_counts": (REFRESH, "site_counts", Rig.forget_counts),
    "entity_counts": (REFRESH, "entity_counts", Rig.forget_counts),
    "release": (REFRESH, "release", Rig.copy_again),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("steps", nargs="*", help=f"default: {', '.join(STEPS)}")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--rows", type=int, default=300_000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="laion-cancel-") as folder,
        run_file_server() as server,
    ):
        place = _prepare(Path(folder) / "place")
        spec = SampleSpec(shard_count=1, rows_per_shard=options.rows, has_pictures=True)
        (made,) = write_sample_shards(place.folder / "made", ["Some name", "Another"], spec)
        url = server.put(f"/{made.name}", Serve(made.read_bytes(), pause_s=0.005))
        vectors = io.BytesIO()
        rng = np.random.default_rng(2022)
        np.save(vectors, rng.standard_normal((options.rows, 64), np.float32).astype(np.float16))
        server.put(f"/{made.stem}.npy", Serve(vectors.getvalue()))
        filler = "x" * 500
        rows = "".join(f"Name {number},{filler}\n" for number in range(2000))
        sheet = server.put("/artists.csv", Serve(f"name,about\n{rows}".encode(), pause_s=0.2))
        environment = {**place.environment, "LAION_SHARDS": url, "LAION_SHEET_ARTISTS": sheet}
        curation = place.folder / "curation.toml"
        curation.write_text(DECLARED, encoding="utf-8")
        environment["LAION_CURATION"] = str(curation)
        command = [sys.executable, "-m", "laion_assets.cli.main", "backfill", "--all", "--pictures"]
        with run_in_background(command, place.folder, environment, place.log) as process:
            assert process.wait() == 0, place.log.read_text(encoding="utf-8")
        server_command = [sys.executable, "-m", "dagster_webserver", "-f", "impatient.py"]
        settings = Settings.from_environment(environment)
        with run_web_ui(server_command, place.folder, environment, place.log) as web_ui:
            rig = Rig(web_ui, settings, made.stem, options.rows)
            for step in options.steps or STEPS:
                measure(rig, step, options.times)


def _prepare(folder: Path) -> Place:
    place = Place(folder, at_once=1)
    place.prepare()
    path = folder / "dagster.yaml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^run_coordinator:\n(?:[ ]+.*\n)+", "", text, flags=re.MULTILINE)
    path.write_text(text + COORDINATOR, encoding="utf-8")
    return place


def measure(rig: Rig, step: str, times: int) -> None:
    """Prints how soon a step ends that is cancelled at random moments."""
    job, asset, prepare = STEPS[step]
    prepare(rig)
    whole_s = rig.finish(job, asset)
    cancelled: list[float] = []
    too_late = 0
    while len(cancelled) < times and len(cancelled) + too_late < MOST_TRIES * times:
        prepare(rig)
        status, took_s = rig.cancel(random.uniform(0, whole_s), job, asset)  # noqa: S311
        assert status in {"CANCELED", "SUCCESS"}, rig.find_newest_failure()
        if status == "SUCCESS":
            # The step had ended, or its last statement was already under way.
            too_late += 1
        else:
            cancelled.append(took_s)
        prepare(rig)
        # The first whole run may have more to do than the others.
        whole_s = min(whole_s, rig.finish(job, asset))
        rig.check_tables()
    figures = f"median {statistics.median(cancelled):.1f} s, " if cancelled else ""
    longest = max(cancelled, default=0.0)
    print(
        f"{step}: whole {whole_s:.1f} s, {len(cancelled)} cancelled, {too_late} ended before, "
        f"{figures}longest {longest:.1f} s{', TOO LONG' if longest > LIMIT_S else ''}",
        flush=True,
    )


if __name__ == "__main__":
    report_run(main)
