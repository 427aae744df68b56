"""A subset of 1 % of a release, with pictures, beside a bare scan and write of Lance.

Run `python -m benchmarks.subsets [--rows 1700000] [--picture-bytes 50000]` from the repository
root. Every 17th row has a picture, so 1,700,000 rows have 100,000, and each row of the subset has
one. Each of the two is a process of its own, in turn, and does it twice: the second time counts, so
that no library is imported meanwhile. The figures are the least seconds and the most memory of all
rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.bare import ingest, refresh
from benchmarks.measure import Rounds, find_spread, report_run
from laion_assets.curation.subset_table import DeclaredSubset
from laion_assets.demo.sample_captions import invent_captions
from laion_assets.pictures.add_pictures import add_pictures
from laion_assets.releases.catalog import find_release, open_released
from laion_assets.settings import REPOSITORY, Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.subsets.make_subset import SubsetOrder, make_subset
from laion_assets.subsets.subset_record import find_made

SHARD_ROWS = 200_000
GROUP_ROWS = 5_000
# One row in so many has a picture; of these, so many in a hundred are in the subset: 1 % of all.
EVERY = 17
CONDITION = f"aesthetic < {EVERY / 10 - 0.05:.2f}"
COLUMNS = ("image_id", "url", "caption", "aesthetic", "shard", "row_index", "image")
NAME = "one_percent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_700_000)
    parser.add_argument("--picture-bytes", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("subset", "bare"), help="what a child process does")
    parser.add_argument("--folder", type=Path, help="where its release is")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.folder, options.only)))
        return
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        settings = Settings.default(Path(folder))
        build(settings, options.rows, options.picture_bytes)
        compare(settings, options.rounds)


def build(settings: Settings, row_count: int, picture_bytes: int) -> None:
    """Makes a release with pictures."""
    for number, start in enumerate(range(0, row_count, SHARD_ROWS)):
        source = settings.data_dir / "shards" / f"{number:05}.parquet"
        source.parent.mkdir(parents=True, exist_ok=True)
        write_shard(source, start, min(SHARD_ROWS, row_count - start), picture_bytes)
        ingest(settings, source)
        stores = Database(settings.database), LanceStore(settings.lance_dir)
        add_pictures(*stores, RawStore(settings.raw_dir), source.stem, "none")
        source.unlink()
        (settings.raw_dir / source.name).unlink()
    refresh(settings)


def write_shard(path: Path, first: int, row_count: int, picture_bytes: int) -> None:
    """Writes rows, some thousands at a time; each picture ends with noise of its own."""
    random = np.random.default_rng(first)
    file = io.BytesIO()
    patches = random.integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(patches).resize((64, 48)).save(file, "JPEG")
    scene = file.getvalue()
    writer = None
    for start in range(first, first + row_count, GROUP_ROWS):
        rows = range(start, min(start + GROUP_ROWS, first + row_count))
        has_picture = [row % EVERY == 0 for row in rows]
        scores = [row // EVERY % 100 / 10 if row % EVERY == 0 else 10.0 for row in rows]
        captions = invent_captions(len(rows), rows.start)
        noise = max(0, picture_bytes - len(scene))
        pictures = [scene + random.bytes(noise) if has else None for has in has_picture]
        table = pa.table(
            {
                "url": [f"https://host{row % 1000}.test/{row}.jpg" for row in rows],
                "caption": captions,
                "aesthetic": pa.array(scores, pa.float32()),
                "jpg": pa.array(pictures, pa.binary()),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def compare(settings: Settings, rounds: int) -> None:
    """Prints the seconds and the memory of both, and their ratio."""
    found: dict[str, list[dict[str, float]]] = {"subset": [], "bare": []}
    for _ in range(rounds):
        for what, figures in found.items():
            figures.append(run(settings, what))
    seconds = {what: [f["seconds"] for f in figures] for what, figures in found.items()}
    cpu_s = {
        what: statistics.median(f["cpu_s"] for f in figures) for what, figures in found.items()
    }
    medians = {what: statistics.median(some) for what, some in seconds.items()}
    memory = {what: max(f["mib"] for f in figures) for what, figures in found.items()}
    rows = {what: figures[0]["rows"] for what, figures in found.items()}
    if rows["subset"] != rows["bare"] or not rows["bare"]:
        raise SystemExit(f"the two have other rows: {rows}")
    images = LanceStore(settings.lance_dir).open("images").count_rows()
    made = find_made(LanceStore(settings.lance_dir), NAME)
    print(
        f"{rows['subset']:,.0f} of {images:,} rows, {made.picture_count if made else 0:,} pictures"
    )
    for what in found:
        print(
            f"{what:8}{medians[what]:8.2f} s ({find_spread(seconds[what], 2)}), "
            f"{cpu_s[what]:.2f} CPU s{memory[what]:8,.0f} MiB"
        )
    print(f"ratio   {medians['subset'] / medians['bare']:8.2f}")


def run(settings: Settings, what: str) -> dict[str, float]:
    """Does one of them in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.subsets", "--only", what, "--folder"]
    said = subprocess.run(
        [*command, str(settings.data_dir)], cwd=REPOSITORY, capture_output=True, check=True
    )
    figure: dict[str, float] = json.loads(said.stdout.splitlines()[0])
    return figure


def measure(folder: Path, what: str) -> dict[str, float]:
    """Does one of them anew; returns its seconds, the memory of this process, and the rows."""
    store = LanceStore(folder / "lance")
    name = NAME if what == "subset" else "bare"
    subset = DeclaredSubset(NAME, where=CONDITION, columns=COLUMNS)

    def make() -> None:
        make_subset(store, SubsetOrder(subset, "none"), lambda _: None)

    def copy() -> None:
        images = open_released(store, find_release(store), "images")
        scanner = images.scanner(columns=list(COLUMNS), filter=CONDITION)
        lance.write_dataset(scanner.to_reader(), store.uri(name))

    rounds = Rounds()
    for _ in range(2):
        shutil.rmtree(store.uri(name), ignore_errors=True)
        rounds.run(make if what == "subset" else copy)
    # The first one warms up.
    figures = {"seconds": rounds.wall_s[-1], "cpu_s": rounds.cpu_s[-1]}
    return figures | {"mib": read_peak_mib(), "rows": store.open(name).count_rows()}


def read_peak_mib() -> float:
    """Returns the most memory of this process; what `getrusage` says has that of its parent."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    report_run(main)
