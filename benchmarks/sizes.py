"""How much disk and memory a site takes, with and without pictures.

Run `python -m benchmarks.sizes [--rows 200000] [--pictures 20000]` from the repository root. It
loads a sample shard of so many rows, releases it, exports it for Datasette and serves it; then a
smaller shard with a picture of 5,000 bytes for each row. Prints bytes a row, and what 12,096,835
rows, those of the 2022 site, take at the same share. Memory is the peak of the largest process of
a load, and that of the search page after 50 searches.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path

from benchmarks.beside_pictures import build
from benchmarks.compare import describe_machine
from benchmarks.measure import folder_bytes, report_run, run_measured
from benchmarks.search import read_sample
from benchmarks.serve import iterate_searches, ours, read_memory_mib, run, run_laion
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.exports.datasette import export_datasette
from laion_assets.names.sheets import read_sheet
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore

ROWS_OF_2022 = 12_096_835
SEARCHES = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--pictures", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        print(describe_machine(), flush=True)
        measure_rows(Path(folder), options.rows)
        measure_pictures(Path(folder), options.pictures)


def measure_rows(folder: Path, rows: int) -> None:
    """Prints what rows take in each place, and programs in memory."""
    settings = Settings.default(folder / "plain")
    file = write_shard(folder / "samples", rows)
    command = ["python", "-m", "benchmarks.bare", str(settings.data_dir), str(file), "--refresh"]
    cost = run_measured([str(Path(".venv/bin") / command[0]), *command[1:]])
    print(f"load and release: peak {cost.largest_mib:,.0f} MiB, {cost.wall_s:,.0f} s", flush=True)
    places = {
        "raw files": settings.raw_dir,
        "DuckDB": settings.database,
        "Lance": settings.lance_dir,
    }
    for name, place in places.items():
        report(name, folder_bytes(place), rows)
    export = export_datasette(LanceStore(settings.lance_dir), folder / "laion.db")
    report("export for Datasette", export.file_bytes, rows)
    searches = list(islice(iterate_searches(read_sample(settings)[0]), SEARCHES))
    with run_laion(settings) as (url, process):
        before = read_memory_mib(process)
        run(url, (ours(text, "") for text in searches))
        after = read_memory_mib(process)
    print(f"search page: {before:,.0f} MiB, after {SEARCHES} searches {after:,.0f} MiB", flush=True)


def measure_pictures(folder: Path, rows: int) -> None:
    """Prints what Lance takes for rows with a picture each."""
    settings = Settings.default(folder / "pictured")
    build(settings, write_shard(folder / "fewer", rows), has_pictures=True)
    report("raw files with pictures", folder_bytes(settings.raw_dir), rows)
    report("Lance with pictures", folder_bytes(settings.lance_dir), rows)


def write_shard(folder: Path, rows: int) -> Path:
    """Returns a sample shard of so many rows."""
    sheets = Settings.default(folder).sheets
    names = [row[0] for kind, place in sheets.items() for row in read_sheet(kind, place).rows]
    (file,) = write_sample_shards(folder, names, SampleSpec(1, rows))
    return file


def report(name: str, size: int, rows: int) -> None:
    """Prints the size of a place, by row and for the rows of 2022."""
    each = size / rows
    whole = each * ROWS_OF_2022 / 1e9
    line = f"{name}: {size / 1e6:,.0f} MB, {each:,.0f} bytes a row, {whole:,.1f} GB for 12 million"
    print(line, flush=True)


if __name__ == "__main__":
    report_run(main)
