"""How long a tick of the sensor takes over thousands of shards, and beside servers that hang.

Run `python -m benchmarks.ticks [--shards 3000]` from the repository root. It makes that many shards
of one row, and then evaluates the sensor as the daemon does, with a history on
disk: with nothing new, with all files gone, and with servers that accept connections and never
answer, of plain URLs, the Hub and a bucket, alone and with the DuckDB file locked meanwhile.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import lance
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Watch
from laion_assets.definitions import build_defs, build_resources
from laion_assets.images.load import load_shard
from laion_assets.lance_images.copy import copy_shard
from laion_assets.partitions import SHARDS_NAME
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.runs.attempts import Memory
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pipeline import refresh

MAX_TICK_S = 20.0
MAX_KNOWN_S = 2.0
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shards", type=int, default=3000)
    options = parser.parse_args()
    is_late, watch = False, Watch()
    with tempfile.TemporaryDirectory(prefix="laion-ticks-") as name:
        settings = Settings.default(Path(name) / "data")
        files = write_shards(settings.data_dir / "shards", options.shards)
        fill(settings, files)
        for what, took_s, limit_s in measure(settings, files):
            is_late |= took_s > limit_s
            print(f"{what}: {took_s:.2f} s ({limit_s:g} at most)", flush=True)
    print(watch.describe(), flush=True)
    # Threads that still wait for the hanging servers are not waited for.
    os._exit(is_late)


def write_shards(folder: Path, count: int) -> list[Path]:
    """Writes one file under many names."""
    folder.mkdir(parents=True)
    files = [folder / f"train-{number:05}.parquet" for number in range(count)]
    pq.write_table(pa.table({"url": ["https://a.test/1.jpg"], "caption": ["a fox"]}), files[0])
    for file in files[1:]:
        file.hardlink_to(files[0])
    return files


def fill(settings: Settings, files: list[Path]) -> None:
    """Brings all shards to a release: one as usual, and the rows of the others as its copies."""
    database, store = Database(settings.database), LanceStore(settings.lance_dir)
    raw_store = RawStore(settings.raw_dir)
    raws = [fetch_shard(describe_file(file), raw_store) for file in files]
    first, *others = [raw.shard for raw in raws]
    with database.write() as connection:
        load_shard(connection, raws[0], raw_store.path(first), "run")
    copy_shard(database, store, first, "run")
    names = pa.table({"name": others})
    with database.write() as connection:
        connection.register("names", names)
        tables = connection.execute(
            "SELECT table_name FROM information_schema.columns WHERE column_name = 'shard'"
        ).fetchall()
        for (table,) in tables:
            connection.execute(
                f"INSERT INTO {table} SELECT original.* REPLACE (names.name AS shard) "
                f"FROM {table} AS original, names"
            )
        connection.execute("UPDATE shards SET load_id = md5(shard) WHERE shard <> ?", [first])
    dataset = store.find("images")
    assert dataset is not None
    row = dataset.to_table()
    place = row.column_names.index("shard")
    copies = pa.concat_tables([row] * len(others)).set_column(
        place, row.schema.field("shard"), names["name"].cast(row.schema.field("shard").type)
    )
    lance.write_dataset(copies, dataset.uri, mode="append")
    refresh(settings)


def measure(settings: Settings, files: list[Path]) -> Iterator[tuple[str, float, float]]:
    """Yields what was measured, the seconds, and how many there may be."""
    settings.history_dir.mkdir()
    with dg.DagsterInstance.local_temp(str(settings.history_dir)) as instance:
        instance.add_dynamic_partitions(SHARDS_NAME, [file.stem for file in files])
        took_s = min(time_tick(settings, instance) for _ in range(ROUNDS))
        yield f"nothing new, {len(files):,} shards", took_s, MAX_KNOWN_S
        with hang() as origin:
            urls = tuple(f"{origin}/hanging-{number}.parquet" for number in range(40))
            far = ("hf://datasets/hanging/set/*.parquet", "s3://hanging/*.parquet", *urls)
            hanging = replace(
                settings,
                shards=(*settings.shards, *far),
                hub_endpoint=origin,
                bucket_endpoint=origin,
                is_anonymous=True,
            )
            yield "beside hanging servers", time_tick(hanging, instance), MAX_TICK_S
            with Database(settings.database).write():
                took_s = time_tick(hanging, instance)
            yield "beside hanging servers, the DuckDB file locked", took_s, MAX_TICK_S
        for file in files:
            file.unlink()
        took_s = min(time_tick(settings, instance) for _ in range(ROUNDS))
        yield f"{len(files):,} shards gone", took_s, MAX_KNOWN_S


def time_tick(settings: Settings, instance: dg.DagsterInstance) -> float:
    """Returns the seconds of a tick that asks servers; what it asks for is not done."""
    sensor = build_defs(settings).resolve_sensor_def("discover_shards")
    resources = build_resources(settings)
    started = time.perf_counter()
    context = dg.build_sensor_context(
        instance=instance,
        resources=resources,
        cursor=Memory().write(),
        sensor_name="discover_shards",
    )
    sensor(context)
    return time.perf_counter() - started


@contextmanager
def hang() -> Iterator[str]:
    """A server whose connections are accepted, and never answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


if __name__ == "__main__":
    main()
