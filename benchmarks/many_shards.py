"""What a commit, a release and a tick cost where a table has thousands of shards.

Run `python -m benchmarks.many_shards` from the repository root. It makes projects of 100 and of
3,400 shards with one row each, so that nothing but their number costs anything: what is there is
put into each table in one commit, and what is measured are real commits, releases and ticks on top
of it. Small fragments are not joined, as those of real shards are not. In a folder it measures
seconds, in a bucket (moto's, in this process) requests and bytes, and it writes
`benchmarks/SCALE.md`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import dagster as dg
import lance
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Rounds, Watch
from laion_assets.definitions import build_defs, build_resources
from laion_assets.images.load import DEPENDENT_TABLES, load_shard
from laion_assets.lance_images import indices
from laion_assets.lance_images.copy import copy_shard
from laion_assets.partitions import SHARDS_NAME
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.runs.attempts import Memory
from laion_assets.schemas import TABLES
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.shard_files import name_file
from laion_assets.stores.warehouse_draft import is_kept_by_shards
from laion_assets_tests.pipeline import count, publish
from laion_assets_tests.servers.buckets import Buckets, Traffic, run_buckets

REPORT = Path(__file__).with_name("SCALE.md")
SIZES = (100, 3400)
ROUNDS = 5


@dataclass
class Project:
    """A project with many shards, all released.

    Attributes:
        settings: of it.
        shards: their names.
        versions: how many contents each shard had that was changed here.
    """

    settings: Settings
    shards: list[str]
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def _source_folder(self) -> Path:
        return self.settings.data_dir / "shards"

    @property
    def _stores(self) -> tuple[Database, LanceStore]:
        return Database.of(self.settings), LanceStore.of(self.settings)

    def fill(self) -> None:
        """Loads one shard as usual, and writes the rows of the others as its copies, at once."""
        first, *others = self.shards
        self._write(first)
        self.load(first)
        self.copy(first)
        self._fill_raw(first, others)
        database, store = self._stores
        names = pa.table({"name": others})
        with database.write() as connection:
            connection.register("names", names)
            for table in filter(is_kept_by_shards, TABLES):
                connection.execute(
                    f"INSERT INTO {table} SELECT original.* REPLACE (names.name AS shard) "
                    f"FROM {table} AS original, names WHERE original.shard = '{first}'"
                )
            connection.execute("UPDATE shards SET load_id = md5(shard) WHERE shard <> ?", [first])
            connection.unregister("names")
        self._fill_lance(store, others)
        self.refresh()

    def _fill_raw(self, first: str, others: list[str]) -> None:
        """Gives each shard the file of the first, at its source and in the raw store."""
        raw_store = RawStore(self.settings.raw_dir)
        raw = raw_store.read(first)
        origin = self._source_folder / f"{first}.parquet"
        for shard in others:
            copied = self._source_folder / f"{shard}.parquet"
            copied.hardlink_to(origin)
            raw_store.path(shard).hardlink_to(origin)
            source = describe_file(copied)
            raw_store.write_record(
                replace(raw, shard=shard, source=source.name, version=source.version)
            )

    def _fill_lance(self, store: LanceStore, others: list[str]) -> None:
        dataset = store.open("images")
        row = dataset.to_table()
        kind = row.schema.field("shard")
        rows = pa.concat_tables([row] * len(others)).set_column(
            row.column_names.index("shard"), kind, pa.array(others, kind.type)
        )
        fragments = store.write_fragments("images", rows.to_reader(), 1)
        id_sum = sum(row["image_id"].to_pylist())
        for shard, fragment in zip(others, fragments, strict=True):
            name_file(store, "images", shard, fragment, id_sum)
        operation = lance.LanceOperation.Append(fragments)
        store.commit("images", lance.Transaction(dataset.version, operation))

    def change(self, shard: str) -> None:
        """Gives a shard another content, or a first one, and loads that into DuckDB."""
        self._write(shard)
        self.load(shard)

    def _write(self, shard: str) -> None:
        version = self.versions[shard] = self.versions.get(shard, 0) + 1
        self._source_folder.mkdir(parents=True, exist_ok=True)
        path = self._source_folder / f"{shard}.parquet"
        path.unlink(missing_ok=True)
        rows = {"url": [f"https://a.test/{version}.jpg"], "caption": [f"fox {shard} {version}"]}
        pq.write_table(pa.table(rows), path)

    def load(self, shard: str) -> None:
        """Brings the file of a shard into DuckDB."""
        raw_store = RawStore(self.settings.raw_dir)
        raw = fetch_shard(describe_file(self._source_folder / f"{shard}.parquet"), raw_store)
        tables = (*DEPENDENT_TABLES, "shard_columns", "pictures")
        with Database.of(self.settings).write(*tables, shards=[shard]) as connection:
            load_shard(connection, raw, raw_store.path(shard), "run")

    def copy(self, shard: str) -> None:
        """Brings a shard from DuckDB into Lance: the commit that is measured."""
        copy_shard(*self._stores, shard, "run")

    def refresh(self) -> None:
        """Counts and releases."""
        count(self.settings)
        publish(self.settings)

    def release(self) -> None:
        """Releases what is counted."""
        publish(self.settings)


@dataclass(frozen=True)
class Figures:
    """What was measured of projects of one size, by what was done."""

    folder: Mapping[str, Rounds]
    bucket: Mapping[str, Traffic]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--places", nargs="+", default=["folder", "bucket"])
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    watch = Watch()
    # Those of real shards are too large to be joined.
    indices.MIN_FRAGMENTS_SAVED = 10**9
    found = {}
    for size in options.sizes:
        folder: dict[str, Rounds] = {}
        bucket: dict[str, Traffic] = {}
        with tempfile.TemporaryDirectory(prefix="laion-many-") as name:
            if "folder" in options.places:
                folder = measure_folder(Path(name) / "folder", size, options.rounds)
            if "bucket" in options.places:
                bucket = measure_bucket(Path(name) / "bucket", size)
        found[size] = Figures(folder, bucket)
    text = describe(found, watch)
    print(text)
    options.report.write_text(text, encoding="utf-8")


def make_project(settings: Settings, size: int) -> Project:
    """Returns a project with so many shards, released."""
    project = Project(settings, [f"train-{number:05}" for number in range(size)])
    project.fill()
    return project


def measure_folder(folder: Path, size: int, rounds: int) -> dict[str, Rounds]:
    """Measures the seconds of each kind of work, in turn."""
    project = make_project(Settings.default(folder / "data"), size)
    found: dict[str, Rounds] = {}
    project.settings.history_dir.mkdir()
    with dg.DagsterInstance.local_temp(str(project.settings.history_dir)) as instance:
        instance.add_dynamic_partitions(SHARDS_NAME, project.shards)
        for number in range(rounds):
            for what, work in list_work(project, number):
                found.setdefault(what, Rounds()).run(work)
            count(project.settings)
            found.setdefault("release", Rounds()).run(project.release)
            instance.add_dynamic_partitions(SHARDS_NAME, list(project.versions))
            tick = partial(run_tick, project.settings, instance)
            found.setdefault("tick with nothing new", Rounds()).run(tick)
            found.setdefault("floor: Lance opens a table", Rounds()).run(
                partial(open_bare, project.settings)
            )
            found.setdefault("floor: Lance opens and commits", Rounds()).run(
                partial(commit_bare, project.settings)
            )
    return found


def list_work(project: Project, number: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yields the commits of a new shard and of one that is replaced, loaded beforehand."""
    for what, shard in (
        ("commit of a new shard", f"new-{number:05}"),
        ("commit of a replaced shard", project.shards[len(project.shards) // 2 + number]),
    ):
        project.change(shard)
        yield what, partial(project.copy, shard)


def open_bare(settings: Settings) -> None:
    """Opens the table, as any program does."""
    lance.dataset(f"{settings.lance_dir}/images.lance")


def commit_bare(settings: Settings) -> None:
    """Opens the table and commits a word about it, with no rows and nothing of ours."""
    dataset = lance.dataset(f"{settings.lance_dir}/images.lance")
    update = lance.LanceOperation.UpdateMap({"benchmark": "bare"})
    operation = lance.LanceOperation.UpdateConfig(table_metadata_updates=update)
    lance.LanceDataset.commit(dataset.uri, lance.Transaction(dataset.version, operation))


def run_tick(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Evaluates the sensor as the daemon does."""
    sensor = build_defs(settings).resolve_sensor_def("discover_shards")
    context = dg.build_sensor_context(
        instance=instance,
        resources=build_resources(settings),
        cursor=Memory().write(),
        sensor_name="discover_shards",
    )
    sensor(context)


def measure_bucket(folder: Path, size: int) -> dict[str, Traffic]:
    """Counts the requests of each kind of work, and their bytes."""
    with run_buckets() as buckets, _set_environment(buckets.environment):
        settings = replace(
            Settings.default(folder / "data"),
            bucket=buckets.create(),
            bucket_endpoint=buckets.endpoint,
        )
        project = make_project(settings, size)
        found = {}
        for what, work in list_work(project, 0):
            found[what] = _count(buckets, work)
        count(settings)
        found["release"] = _count(buckets, project.release)
    return found


def _count(buckets: Buckets, work: Callable[[], object]) -> Traffic:
    before = buckets.read_traffic()
    work()
    return buckets.read_traffic() - before


@contextmanager
def _set_environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def describe(found: Mapping[int, Figures], watch: Watch) -> str:
    """Returns the report."""
    sizes = sorted(found)
    small, large = found[sizes[0]], found[sizes[-1]]
    heads = [f"{size:,} shards" for size in sizes]
    lines = [
        "# Thousands of shards",
        "",
        "Written by `python -m benchmarks.many_shards`: projects of shards with one row each. "
        "What is measured comes on top of what is there. The last column compares the largest "
        "with the smallest.",
    ]
    if small.folder:
        lines += ["", "## In a folder", ""]
        lines += [f"| | {' | '.join(heads)} | times |", f"|{' --- |' * (len(sizes) + 2)}"]
        for what, rounds in small.folder.items():
            cells = [found[size].folder[what].describe().strip() for size in sizes]
            times = large.folder[what].cpu_median_s / max(rounds.cpu_median_s, 1e-9)
            lines.append(f"| {what} | {' | '.join(cells)} | {times:.1f} |")
        lines += ["", "Wall seconds (least to most of all rounds), CPU seconds; times in CPU."]
    if small.bucket:
        lines += ["", "## In a bucket", ""]
        lines += [f"| | {' | '.join(heads)} | times |", f"|{' --- |' * (len(sizes) + 2)}"]
        for what, traffic in small.bucket.items():
            cells = [found[size].bucket[what].describe() for size in sizes]
            times = large.bucket[what].requests / max(traffic.requests, 1)
            lines.append(f"| {what} | {' | '.join(cells)} | {times:.1f} |")
        lines += ["", "Requests, and bytes of their bodies; times in requests."]
    return "\n".join([*lines, "", watch.describe(), ""])


if __name__ == "__main__":
    main()
