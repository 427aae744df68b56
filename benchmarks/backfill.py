"""One shard through `laion backfill`, beside the same SQL, Arrow and Lance calls in a bare script.

Run `python -m benchmarks.backfill [--rows 1728119] [--rounds 3]` from the repository root. Each
round runs both as processes of their own, one after the other, from the start of Python to its end.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from laion_assets.demo.shards import SampleSpec, write_sample_shards
from laion_assets.settings import REPOSITORY

# The same work without Dagster: the statements and calls of `lib`, in the order of the assets.
BARE_SCRIPT = """
import sys
from pathlib import Path

from laion_assets.lib.database import Database
from laion_assets.lib.images import load_shard
from laion_assets.lib.lance_images import copy_shard
from laion_assets.lib.raw_shard import fetch_shard, raw_path
from laion_assets.lib.sources.files import describe_file

source, data_dir = map(Path, sys.argv[1:])
raw = fetch_shard(describe_file(source), data_dir / "raw")
database = Database(data_dir / "laion.duckdb")
with database.write() as connection:
    load_shard(connection, raw, raw_path(data_dir / "raw", raw.shard), "none")
copy_shard(database, data_dir / "lance", raw.shard, "none")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        measure(Path(folder), options.rows, options.rounds)


def measure(folder: Path, rows: int, rounds: int) -> None:
    """Prints the seconds of each, and their ratio by the medians."""
    names = [f"Name {number}" for number in range(500)]
    spec = SampleSpec(shard_count=1, rows_per_shard=rows)
    (source,) = write_sample_shards(folder / "source", names, spec)
    timings: dict[str, list[float]] = {"bare script": [], "laion backfill": []}
    for number in range(rounds):
        bare_dir, data_dir = folder / f"bare-{number}", folder / f"product-{number}"
        bare_dir.mkdir()
        script = [sys.executable, "-c", BARE_SCRIPT, str(source), str(bare_dir)]
        timings["bare script"].append(time_command(script, {}))
        product = [str(Path(sys.executable).with_name("laion")), "backfill", source.stem]
        variables = {"LAION_DATA_DIR": str(data_dir), "LAION_SHARDS": str(source)}
        timings["laion backfill"].append(time_command([*product, "--no-refresh"], variables))
    for name, seconds in timings.items():
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{name:16} median {statistics.median(seconds):6.2f} s ({spread})")
    bare, product_s = (statistics.median(seconds) for seconds in timings.values())
    print(f"{'ratio':16} {product_s / bare:.2f}  ({rows:,} rows, {rounds} rounds)")


def time_command(command: Sequence[str], variables: Mapping[str, str]) -> float:
    environment = {**os.environ, "PWD": str(REPOSITORY), **variables}
    started = time.perf_counter()
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
