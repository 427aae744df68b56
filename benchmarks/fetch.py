"""Bringing a shard home and verifying it, beside a plain copy of the same file.

Run `python -m benchmarks.fetch [--rows 1728119] [--rounds 5]` from the repository root. Compared
are a local file (linked, hashed, every page decoded) with `cp`, and a download with a plain one
from the same server, which runs as a process of its own. The rounds are interleaved.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Rounds, report_run
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.raw_shards.fetch import fetch_shard
from laion_assets.raw_shards.sources.files import describe_file
from laion_assets.raw_shards.sources.urls import describe_url
from laion_assets.stores.raw_store import RawStore

CHUNK_BYTES = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        spec = SampleSpec(shard_count=1, rows_per_shard=options.rows)
        (source,) = write_sample_shards(Path(folder) / "source", ["Claude Monet"], spec)
        measure(Path(folder), source, options.rounds)


def measure(folder: Path, source: Path, rounds: int) -> None:
    """Prints the seconds of each, and the two ratios by the medians."""
    copy, raw_dir = folder / "copy.parquet", folder / "raw"
    with serve(source.parent) as origin:
        url = f"{origin}/{source.name}"
        works: dict[str, Callable[[], object]] = {
            "plain copy": lambda: shutil.copyfile(source, copy),
            "local fetch": lambda: fetch_shard(describe_file(source), RawStore(raw_dir)),
            "plain download": lambda: download(url, copy),
            "remote fetch": lambda: fetch_shard(describe_url(url, None), RawStore(raw_dir)),
        }
        timings = {label: Rounds() for label in works}
        for _ in range(rounds):
            for label, work in works.items():
                shutil.rmtree(raw_dir, ignore_errors=True)
                copy.unlink(missing_ok=True)
                timings[label].run(work)
    print(f"{source.stat().st_size / 1e6:,.0f} MB, {rounds} rounds")
    medians = {label: found.median_s for label, found in timings.items()}
    for label, found in timings.items():
        print(f"{label:15} {found.describe()}")
    print(f"local fetch / plain copy       {medians['local fetch'] / medians['plain copy']:.2f}")
    ratio = medians["remote fetch"] / medians["plain download"]
    print(f"remote fetch / plain download  {ratio:.2f}")


def download(url: str, path: Path) -> None:
    import requests

    with requests.get(url, stream=True, timeout=60) as response, path.open("wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves a folder with Python's own server, and yields its origin."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the server did not start")


if __name__ == "__main__":
    report_run(main)
