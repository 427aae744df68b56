"""Fetching pictures and making them smaller, beside img2dataset on the same server.

Run `python -m benchmarks.pictures [--pictures 3000] [--bad 0] [--rounds 3] [--small]
[--img2dataset PYTHON]` from the repository root. The server is a process of its own on loopback;
`PYTHON` is an interpreter that has img2dataset, which does not go with our own dependencies.
Both keep 256 pixels on the shorter side as JPEG of quality 90, and write what they got to a disk:
we to the cache, img2dataset to parquet. With `--bad 30`, 30 % of the URLs are of bad hosts.
`--small` serves pictures of 320 x 240, so that many of them soon show whether memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import report_run
from laion_assets.pictures.fetching.fetch_pictures import fetch_pictures
from laion_assets.pictures.fetching.rules import FetchRules, SizeRules
from laion_assets.stores.picture_cache import PictureCache

ADDRESS = "127.0.0.2"
# img2dataset has no limit per host, and there is one host here.
CONNECTIONS = 64
TIME_S = 10
# Width and height.
LARGE, SMALL = (1024, 768), (320, 240)
DISTINCT = 40
BAD = ("refused", "silent", "drip", "missing", "busy", "loop", "huge", "bomb")
PEAK_MEMORY = re.compile(r"VmHWM:\s+(\d+) kB")
IMG2DATASET = """
import sys
from img2dataset import download
if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], input_format="parquet", url_col="url",
             output_format="parquet", image_size=256, resize_mode="keep_ratio",
             resize_only_if_bigger=True, encode_quality=90, processes_count=2, thread_count=64,
             timeout=10, retries=0, number_sample_per_shard=10000, enable_wandb=False,
             incremental_mode="incremental")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--bad", type=int, default=0, help="percent of the URLs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--img2dataset", help="a Python that has it")
    parser.add_argument("--small", action="store_true", help="serve small pictures")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(*(SMALL if options.small else LARGE)))
        return
    command = [sys.executable, "-m", "benchmarks.pictures", "--serve"]
    command += ["--small"] if options.small else []
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        port = int(server.stdout.readline())
        with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
            measure(Path(folder), port, options)
    finally:
        server.kill()
        server.wait()


def measure(folder: Path, port: int, options: argparse.Namespace) -> None:
    """Prints the pictures per second of each, and the ratio of the medians."""
    urls = name_urls(options.pictures, options.bad, port)
    works: dict[str, Callable[[int], int]] = {
        "laion_assets": lambda number: fetch_ours(folder / f"ours{number}", urls)
    }
    if options.img2dataset:
        works["img2dataset"] = lambda number: fetch_theirs(
            folder / f"theirs{number}", urls, options.img2dataset
        )
    rates: dict[str, list[float]] = {name: [] for name in works}
    peaks = [0.0]
    threading.Thread(target=watch_decoders, args=(peaks,), daemon=True).start()
    for number in range(options.rounds):
        for name, work in works.items():
            began = time.perf_counter()
            got = work(number)
            seconds = time.perf_counter() - began
            rates[name].append(got / seconds)
            print(f"{name}: {got:,} of {len(urls):,} URLs in {seconds:.1f} s", flush=True)
    for name, values in rates.items():
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(f"{name}: {statistics.median(values):.0f} pictures/s, {spread}")
    if len(rates) > 1:
        ours, theirs = (statistics.median(values) for values in rates.values())
        print(f"ratio {ours / theirs:.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:.0f} MiB here, {max(peaks):.0f} MiB in the largest decoder")


def watch_decoders(peaks: list[float]) -> None:
    """Notes now and then what the processes that decode have taken at most, in MiB."""
    while True:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                if b"spawn_main" in command and os.getsid(int(folder.name)) == os.getsid(0):
                    found = PEAK_MEMORY.search((folder / "status").read_text())
                    peaks.append(int(found[1]) / 1024 if found else 0)
        time.sleep(1)


def name_urls(count: int, bad_percent: int, port: int) -> list[str]:
    """Returns the URLs, the bad ones among the others."""
    chooser = random.Random(1)  # noqa: S311 - no secret
    urls = []
    for number in range(count):
        if chooser.randrange(100) < bad_percent:
            kind = chooser.choice(BAD)
            # A bad host has a few dozen URLs, as on the web.
            host = f"127.0.1.{1 + number % 50}"
            at = 9 if kind == "refused" else port
            urls.append(f"http://{host}:{at}/{kind}/{number}.jpg")
        else:
            urls.append(f"http://{ADDRESS}:{port}/{number}.jpg")
    return urls


def fetch_ours(folder: Path, urls: list[str]) -> int:
    """Fetches into the cache, and returns how many pictures came."""
    sizes = SizeRules()
    rules = FetchRules(
        "benchmark@example.org",
        sizes=sizes,
        connections_per_host=CONNECTIONS,
        requests_per_s=100_000,
        time_s=TIME_S,
        attempts=1,
        allowed_networks=(ip_network("127.0.0.0/8"),),
    )
    cache = PictureCache(folder, sizes.name)
    statuses: Counter[str] = Counter()

    def keep(results: list) -> None:  # type: ignore[type-arg]
        cache.put(results)
        statuses.update(result.reason or "success" for result in results)

    fetch_pictures(cache.find_missing(urls), rules, keep)
    assert statuses.total() == len(urls)
    if len(statuses) > 1:
        print(dict(statuses))
    return statuses["success"]


def fetch_theirs(folder: Path, urls: list[str], python: str) -> int:
    """Lets img2dataset fetch, and returns how many pictures came."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    folder.mkdir()
    pq.write_table(pa.table({"url": urls}), folder / "urls.parquet")
    (folder / "run.py").write_text(IMG2DATASET, encoding="utf-8")
    command = [python, str(folder / "run.py"), str(folder / "urls.parquet"), str(folder / "out")]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"},
    )
    table = ds.dataset(list(map(str, (folder / "out").glob("*.parquet")))).to_table(["status"])
    statuses: list[str] = table["status"].to_pylist()
    return statuses.count("success")


async def serve(width: int, height: int) -> None:
    """Serves pictures at every path, large ones of some 90 kB, and misbehaves at some."""
    pictures, bomb = draw_pictures(width, height), draw_bomb()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                kind = path.split("/")[1]
                if kind in MISBEHAVIOUR:
                    await MISBEHAVIOUR[kind](path, writer)
                else:
                    data = (
                        bomb if kind == "bomb" else pictures[zlib.crc32(path.encode()) % DISTINCT]
                    )
                    length = f"Content-Length: {len(data)}\r\n\r\n".encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n" + length + data)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    # Loopback has many addresses, one for each bad host.
    listening = await asyncio.start_server(handle, "0.0.0.0", 0)  # noqa: S104
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


async def miss(_path: str, writer: asyncio.StreamWriter) -> None:
    """There is no such file, and no robots.txt."""
    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


async def be_silent(_path: str, _writer: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.sleep(3600)


async def drip(_path: str, writer: asyncio.StreamWriter) -> None:
    """Sends a byte a second."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n")
    for _ in range(3600):
        writer.write(b"\xff")
        await writer.drain()
        await asyncio.sleep(1)


async def be_busy(_path: str, writer: asyncio.StreamWriter) -> None:
    """Asks to come back later."""
    writer.write(b"HTTP/1.1 429 Busy\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n")


async def redirect(path: str, writer: asyncio.StreamWriter) -> None:
    """Sends in a circle."""
    there = f"Location: {path}\r\n".encode()
    writer.write(b"HTTP/1.1 302 Found\r\n" + there + b"Content-Length: 0\r\n\r\n")


async def flood(_path: str, writer: asyncio.StreamWriter) -> None:
    """Sends 200 MB."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(2000):
        writer.write(b"\xff" * 100_000)
        await writer.drain()
    writer.close()


MISBEHAVIOUR = {
    "robots.txt": miss,
    "missing": miss,
    "silent": be_silent,
    "drip": drip,
    "busy": be_busy,
    "loop": redirect,
    "huge": flood,
}


def draw_pictures(width: int, height: int) -> list[bytes]:
    """Returns JPEGs as photographs compress, of noise in patches."""
    noise = np.random.default_rng(1)
    pictures = []
    for _ in range(DISTINCT):
        rough = noise.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
        grain = noise.integers(-5, 5, (height, width, 1))
        pixels = np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=70)
        pictures.append(buffer.getvalue())
    return pictures


def draw_bomb() -> bytes:
    """Returns a picture of 400 million pixels in half a megabyte."""
    buffer = io.BytesIO()
    Image.new("L", (20_000, 20_000)).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    report_run(main)
