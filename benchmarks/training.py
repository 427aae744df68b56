"""Reading pictures for training, beside `datasets` and WebDataset over the same pictures.

Run `python -m benchmarks.training [--pictures 50000] [--rounds 3] [--workers 2] [--decode]` from
the repository root, in an environment that has torch, datasets and webdataset as well. Each reads
all pictures and captions once a round through torch's DataLoader, in batches of 256, shuffled: the
stream over the whole split, the others with a buffer of 2,000. datasets streams parquet files as
the Hub has them, WebDataset tar files, in four files each. What is counted are pictures that came
out of the loader; with `--decode`, each is decoded by Pillow in the worker. With `--workers 0`, all
is done in one process, and its processor time is measured as well, which a busy machine changes
little. Workers live for all rounds, and a round before those that count starts them; what that
round takes, from opening the data on, is printed too.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader

from benchmarks.measure import report_run
from laion_assets.demo.sample_captions import invent_captions
from laion_assets.stores.lance_store import FORMAT, LanceStore
from laion_assets.training import make_loader, open_split

TAG = "benchmark"
FILES, GROUP_ROWS, BATCH, BUFFER = 4, 1000, 256, 2000
# Width, height, and pictures that differ; the others repeat them with another caption.
SIZE, DISTINCT = (256, 192), 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--decode", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Prints the pictures per second of each, and the ratio to the better of the others."""
    picture_bytes = write_all(folder, options.pictures)
    collate = decode_all if options.decode else list
    kinds = {
        "laion_assets": load_ours,
        "datasets": load_datasets,
        "webdataset": load_webdataset,
    }
    loaders: dict[str, Load] = {}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    core_rates: dict[str, list[float]] = {name: [] for name in kinds}
    for name, load in kinds.items():
        began = time.perf_counter()
        loaders[name] = load(folder, options.workers, collate)
        assert sum(map(len, loaders[name])) == options.pictures
        print(f"{name}: {time.perf_counter() - began:.2f} s for the first pass, with its start")
    for _ in range(options.rounds):
        for name, loader in loaders.items():
            began, began_core = time.perf_counter(), time.process_time()
            count = sum(map(len, loader))
            core_rates[name].append(count / (time.process_time() - began_core))
            rates[name].append(count / (time.perf_counter() - began))
            assert count == options.pictures, f"{name} has read {count} pictures"
    mean_bytes = picture_bytes / options.pictures
    for name, values in rates.items():
        middle = statistics.median(values)
        print(
            f"{name}: {middle:,.0f} pictures/s ({min(values):,.0f} to {max(values):,.0f}), "
            f"{middle * mean_bytes / 1e6:,.0f} MB/s"
        )
    print(f"ratio to the better of the others: {compare(rates):.2f}")
    if options.workers == 0:
        for name, values in core_rates.items():
            print(f"{name}: {statistics.median(values):,.0f} pictures per core-second")
        print(f"ratio per core-second: {compare(core_rates):.2f}")


def compare(rates: dict[str, list[float]]) -> float:
    """Returns how often the better of the others fits into our rate."""
    ours, *others = (statistics.median(values) for values in rates.values())
    return ours / max(others)


def write_all(folder: Path, count: int) -> int:
    """Writes the same pictures for all three; returns their bytes."""
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
    """Returns what reads a pass of the stream."""
    stream = open_split(str(folder), TAG, "train", ["image", "caption"], seed=1)
    alive = workers > 0
    return make_loader(
        stream, BATCH, num_workers=workers, collate_fn=collate, persistent_workers=alive
    )


def load_datasets(folder: Path, workers: int, collate: Collate) -> Load:
    """Returns what reads a pass with datasets, streaming, the pictures as bytes."""
    files = {"data_files": str(folder / "*.parquet")}
    examples = datasets.load_dataset("parquet", split="train", streaming=True, **files)
    examples = examples.cast_column("image", datasets.Image(decode=False))
    examples = examples.shuffle(seed=1, buffer_size=BUFFER)
    return make_torch_loader(examples, workers, collate)


def load_webdataset(folder: Path, workers: int, collate: Collate) -> Load:
    """Returns what reads a pass with WebDataset, the pictures as bytes."""
    files = [str(path) for path in sorted(folder.glob("*.tar"))]
    examples = webdataset.WebDataset(files, shardshuffle=FILES, seed=1).shuffle(BUFFER)
    return make_torch_loader(examples.to_tuple("jpg", "txt"), workers, collate)


def make_torch_loader(examples: Any, workers: int, collate: Collate) -> Load:
    """Returns a loader of torch's over others' examples."""
    alive = workers > 0
    return DataLoader(  # type: ignore[no-any-return]
        examples, BATCH, num_workers=workers, collate_fn=collate, persistent_workers=alive
    )


def decode_all(rows: Any) -> list[tuple[int, int]]:
    """Decodes the pictures of a batch, whichever way they come, and returns their sizes."""
    return [decode(picture) for picture in find_pictures(rows)]


def find_pictures(rows: Any) -> Iterator[bytes]:
    for row in rows:
        picture = row[0] if isinstance(row, tuple) else row["image"]
        yield picture["bytes"] if isinstance(picture, dict) else picture


def decode(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.convert("RGB").size


if __name__ == "__main__":
    report_run(main)
