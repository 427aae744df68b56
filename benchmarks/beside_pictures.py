"""Scans and searches of a table with pictures, beside the same rows without any.

Run `python -m benchmarks.beside_pictures [--rows 60000] [--rounds 40]` from the repository root.
One process, warm. Both tables are asked in turn, the first one now this and now that. The figures
are the least of all rounds, as other programs can only add to them, and their ratio.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.bare import ingest, refresh
from benchmarks.measure import find_spread, report_run, timed
from benchmarks.search import choose_queries, read_sample
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.names.sheets import read_sheet
from laion_assets.pictures.add_pictures import add_pictures
from laion_assets.releases.catalog import find_release, open_released
from laion_assets.search.filter import EVERYTHING, SearchFilter
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore

PICTURE_BYTES = 5000
QUERIES = 40
Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        measure(Path(folder), options.rows, options.rounds)


def measure(folder: Path, rows: int, rounds: int) -> None:
    """Prints the milliseconds of each kind of work without and with pictures, and the ratio."""
    tables = {name: Settings.default(folder / name) for name in ("without", "with")}
    names = [
        row[0]
        for kind, path in tables["with"].sheets.items()
        for row in read_sheet(kind, path).rows
    ]
    spec = SampleSpec(shard_count=1, rows_per_shard=rows)
    (plain,) = write_sample_shards(folder / "samples", names, spec)
    for name, settings in tables.items():
        build(settings, plain, has_pictures=name == "with")
    works = {name: list_works(settings) for name, settings in tables.items()}
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(-1, rounds):
        for what in works["with"]:
            for name in sorted(works, reverse=number % 2 == 0):
                seconds = timed(works[name][what])
                if number >= 0:
                    times.setdefault((what, name), []).append(seconds)
    print(f"{'least milliseconds':40}{'without':>10}{'with':>10}{'ratio':>8}  median (spread)")
    for what in works["with"]:
        both = [[1000 * seconds for seconds in times[what, n]] for n in ("without", "with")]
        without, beside = map(min, both)
        spreads = [f"{statistics.median(some):.1f} ({find_spread(some, 1)})" for some in both]
        print(
            f"{what:40}{without:10.1f}{beside:10.1f}{beside / without:8.3f}  {'; '.join(spreads)}"
        )


def build(settings: Settings, plain: Path, *, has_pictures: bool) -> None:
    """Loads and releases the rows, with a picture for each or none."""
    table = pq.read_table(plain)
    table = table.drop_columns([n for n in ("jpg",) if n in table.schema.names])
    if has_pictures:
        table = table.append_column("jpg", pa.array(draw(len(table)), pa.binary()))
    settings.data_dir.mkdir(parents=True)
    source = settings.data_dir / "a.parquet"
    pq.write_table(table, source, row_group_size=2000)
    ingest(settings, source)
    database, store = Database(settings.database), LanceStore(settings.lance_dir)
    if has_pictures:
        note = add_pictures(database, store, RawStore(settings.raw_dir), "a", "none")
        print(f"{note.value_count:,} pictures, {note.data_bytes / 1e6:,.0f} MB")
    refresh(settings)


def draw(count: int) -> list[bytes]:
    """Returns pictures of one scene; each ends with noise, as no two files are the same."""
    noise = np.random.default_rng(1)
    file = io.BytesIO()
    patches = noise.integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(patches).resize((64, 48)).save(file, "JPEG")
    scene = file.getvalue()
    return [scene + noise.bytes(PICTURE_BYTES - len(scene)) for _ in range(count)]


def list_works(settings: Settings) -> dict[str, Work]:
    """Returns what is measured."""
    store = LanceStore(settings.lance_dir)
    images = open_released(store, find_release(store), "images")
    captions, domain = read_sample(settings)
    queries = choose_queries(captions, QUERIES)
    search = open_search(store)
    rows = list(range(0, images.count_rows(), images.count_rows() // 100))[:100]
    some = SearchFilter(max_punsafe=0.5, min_width=512)

    def ask(texts: list[str], only: SearchFilter) -> Work:
        return lambda: [search.find(text, only=only, limit=20) for text in texts]

    columns = ["url", "caption", "width", "height", "similarity"]
    return {
        "scan of captions": lambda: images.to_table(["caption"]),
        "scan of five columns": lambda: images.to_table(columns),
        "scan with a filter": lambda: images.to_table(columns, filter="width >= 512"),
        "count of a domain": lambda: images.count_rows(f"domain = '{domain}'"),
        "100 rows by position": lambda: images.take(rows, columns),
        **{
            f"{len(texts)} searches, {sort}": ask(texts, EVERYTHING)
            for sort, texts in queries.items()
        },
        f"{QUERIES} searches, middling, filtered": ask(queries["a middling word"], some),
    }


if __name__ == "__main__":
    report_run(main)
