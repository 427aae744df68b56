"""Reading pictures for training, beside `datasets` and WebDataset over the same pictures.

Run `python -m benchmarks.training [--pictures 50000] [--rounds 3] [--workers 2] [--decode]` from
the repository root, in an environment that has torch, datasets and webdataset as well. Each reads
all pictures and captions once a pass through torch's DataLoader, in batches of 256, shuffled: the
stream over the whole split, the others with a buffer of 2,000. datasets streams parquet files as
the Hub has them, WebDataset tar files, in four files each. What is counted are pictures that came
out of the loader; with `--decode`, each is decoded by Pillow in the worker.

Our stream is read in two ways: by threads of the program, and by processes. In each round each of
the four is a program of its own, in turn. Its first pass is measured with all that comes before it:
the start of Python, imports, opening the data, the start of the workers. Its second pass has the
workers already. The first batch says how long the start takes alone. The processor time of the
whole program, its workers and their server included, is measured as well, which a busy machine
changes little. With `--workers 0`, all is done in one process.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import find_spread, report_run
from laion_assets.settings import REPOSITORY

# Libraries are imported where they are used: each program pays for its own.
TAG = "benchmark"
FILES, GROUP_ROWS, BATCH, BUFFER = 4, 1000, 256, 2000
# Width, height, and pictures that differ; the others repeat them with another caption.
SIZE, DISTINCT = (256, 192), 200
MEANINGS = {
    "start": "to the first batch, with all that comes before it",
    "first": "to the end of the first pass, with all that comes before it",
    "second": "the second pass",
    "start_cpu": "to the first batch, processor time",
    "first_cpu": "to the end of the first pass, processor time",
    "second_cpu": "the second pass, processor time",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--only", choices=LOADS, help="what a child process does")
    parser.add_argument("--folder", type=Path, help="where its pictures are")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(read_twice(options)))
        return
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        options.folder = Path(folder)
        measure(options, write_all(options.folder, options.pictures) / options.pictures)


def measure(options: argparse.Namespace, mean_bytes: float) -> None:
    """Prints the seconds of each and the ratio of the better of the others to ours."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in LOADS}
    for _ in range(options.rounds):
        for name, figures in found.items():
            figures.append(run(options, name))
    print(f"{options.pictures:,} pictures of {mean_bytes:,.0f} bytes, {options.workers} workers")
    for key, meaning in MEANINGS.items():
        print(f"{meaning}:")
        seconds = {name: [f[key] for f in figures] for name, figures in found.items()}
        for name, values in seconds.items():
            middle = statistics.median(values)
            rate = "" if "start" in key else f", {options.pictures / middle:,.0f} pictures/s"
            print(f"  {name:13}{middle:8.2f} s ({find_spread(values, 2)}){rate}")
        *ours, one, other = (statistics.median(values) for values in seconds.values())
        ratios = " and ".join(f"{min(one, other) / each:.2f}" for each in ours)
        print(f"  ratio of the better of the others to ours: {ratios}")


def run(options: argparse.Namespace, name: str) -> dict[str, float]:
    """Lets a program of its own do two passes; returns the seconds since its start, and others."""
    command = [sys.executable, "-m", "benchmarks.training", "--only", name]
    command += ["--folder", str(options.folder), "--pictures", str(options.pictures)]
    command += ["--workers", str(options.workers), *(["--decode"] if options.decode else [])]
    began = time.time()
    said = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, start_new_session=True
    )
    figures: dict[str, float] = json.loads(said.stdout.splitlines()[0])
    return figures | {key: figures[key] - began for key in ("start", "first")}


def read_twice(options: argparse.Namespace) -> dict[str, float]:
    """Reads all pictures twice; returns when what came of the first, and the cost of the second."""
    collate = decode_all if options.decode else list
    loader = LOADS[options.only](options.folder, options.workers, collate)
    figures: dict[str, float] = {}
    count = 0
    for batch in loader:
        if not count:
            figures |= {"start": time.time(), "start_cpu": read_session_cpu_s()}
        count += len(batch)
    figures |= {"first": time.time(), "first_cpu": read_session_cpu_s()}
    assert count == options.pictures, f"{options.only} has read {count} pictures"
    assert sum(map(len, loader)) == options.pictures
    figures["second"] = time.time() - figures["first"]
    figures["second_cpu"] = read_session_cpu_s() - figures["first_cpu"]
    return figures


def read_session_cpu_s() -> float:
    """Returns the processor time of all living processes of this session."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may have blanks; the session is the fourth word after it.
            words = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            # It has just ended.
            continue
        if int(words[3]) == os.getsid(0):
            ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def write_all(folder: Path, count: int) -> int:
    """Writes the same pictures for all three; returns their bytes."""
    import lance
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import webdataset

    from laion_assets.demo.sample_captions import invent_captions
    from laion_assets.stores.lance_store import FORMAT, LanceStore

    pictures = [paint(number) for number in range(DISTINCT)]
    chosen = [pictures[number % DISTINCT] for number in range(count)]
    captions = invent_captions(count, seed=0).to_pylist()
    table = pa.table(
        {
            "image": pa.array(chosen, pa.large_binary()),
            "caption": captions,
            "split": pa.array(["train"] * count),
        }
    )
    store = LanceStore(folder)
    lance.write_dataset(table, store.uri("images"), data_storage_version=FORMAT)
    store.create_tag("images", TAG, 1)
    for number, rows in enumerate(np.array_split(np.arange(count), FILES)):
        examples = [{"bytes": chosen[row], "path": None} for row in rows]
        texts = [captions[row] for row in rows]
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        pq.write_table(
            pa.table({"image": pa.array(examples, kind), "caption": texts}),
            folder / f"{number}.parquet",
            row_group_size=GROUP_ROWS,
        )
        with webdataset.TarWriter(str(folder / f"{number}.tar")) as writer:
            for row, text in zip(rows, texts, strict=True):
                writer.write({"__key__": f"{row:08d}", "jpg": chosen[row], "txt": text})
    return sum(map(len, chosen))


def paint(number: int) -> bytes:
    """Returns a JPEG with shapes and grain, of about 11 kB."""
    import numpy as np
    from PIL import Image, ImageDraw

    drawing = random.Random(number)  # noqa: S311
    grain = np.random.default_rng(number).integers(-12, 12, (SIZE[1], SIZE[0], 3))
    image = Image.new("RGB", SIZE, drawing.randbytes(3).hex().join(["#", ""]))
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        left, top = drawing.randrange(SIZE[0]), drawing.randrange(SIZE[1])
        box = (left, top, left + drawing.randrange(80), top + drawing.randrange(80))
        draw.ellipse(box, fill=f"#{drawing.randbytes(3).hex()}")
    noisy = np.clip(np.asarray(image).astype(int) + grain, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=80)
    return file.getvalue()


Load = Iterable[Any]
Collate = Callable[[Any], Any]


def load_ours(folder: Path, workers: int, collate: Collate) -> Load:
    """Returns what reads a pass of the stream, in threads."""
    import torch  # noqa: F401 - a program that trains has it

    from laion_assets.training import make_loader, open_split

    stream = open_split(str(folder), TAG, "train", ["image", "caption"], seed=1)
    return make_loader(stream, BATCH, num_threads=workers, collate_fn=collate)


def load_ours_in_processes(folder: Path, workers: int, collate: Collate) -> Load:
    """Returns what reads a pass of the stream, in processes."""
    from laion_assets.training import make_loader, open_split, start_workers

    # While this process imports torch and opens the release.
    start_workers()
    stream = open_split(str(folder), TAG, "train", ["image", "caption"], seed=1)
    return make_loader(stream, BATCH, num_workers=workers, collate_fn=collate)


def load_datasets(folder: Path, workers: int, collate: Collate) -> Load:
    """Returns what reads a pass with datasets, streaming, the pictures as bytes."""
    import datasets

    files = {"data_files": str(folder / "*.parquet")}
    examples = datasets.load_dataset("parquet", split="train", streaming=True, **files)
    examples = examples.cast_column("image", datasets.Image(decode=False))
    examples = examples.shuffle(seed=1, buffer_size=BUFFER)
    return make_torch_loader(examples, workers, collate)


def load_webdataset(folder: Path, workers: int, collate: Collate) -> Load:
    """Returns what reads a pass with WebDataset, the pictures as bytes."""
    import webdataset

    files = [str(path) for path in sorted(folder.glob("*.tar"))]
    examples = webdataset.WebDataset(files, shardshuffle=FILES, seed=1).shuffle(BUFFER)
    return make_torch_loader(examples.to_tuple("jpg", "txt"), workers, collate)


def make_torch_loader(examples: Any, workers: int, collate: Collate) -> Load:
    """Returns a loader of torch's over others' examples."""
    from torch.utils.data import DataLoader

    alive = workers > 0
    return DataLoader(  # type: ignore[no-any-return]
        examples, BATCH, num_workers=workers, collate_fn=collate, persistent_workers=alive
    )


LOADS: dict[str, Callable[[Path, int, Collate], Load]] = {
    "threads": load_ours,
    "processes": load_ours_in_processes,
    "datasets": load_datasets,
    "webdataset": load_webdataset,
}


def decode_all(rows: Any) -> list[tuple[int, int]]:
    """Decodes the pictures of a batch, whichever way they come, and returns their sizes."""
    return [decode(picture) for picture in find_pictures(rows)]


def find_pictures(rows: Any) -> Iterator[bytes]:
    for row in rows:
        picture = row[0] if isinstance(row, tuple) else row["image"]
        yield picture["bytes"] if isinstance(picture, dict) else picture


def decode(picture: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        return image.convert("RGB").size


if __name__ == "__main__":
    report_run(main)
