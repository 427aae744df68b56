"""Search by vectors over a release, beside faiss over the same vectors.

Run `python -m benchmarks.vectors [--rows 1000000] [--shards 10] [--queries 200]` from the
repository root; it needs `faiss-cpu`. The vectors are drawn, as nobody may bundle CLIP's: a common
mean and clusters, both with variances that fall as a power of the axis, as those of CLIP's vectors
do (a few axes have most of it, and all vectors lie in a narrow cone). `--exponent 0` draws round
clusters. Queries are drawn likewise, and are not in the table. Recall is against comparing all.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bare import ingest, refresh
from benchmarks.measure import report_run, timed
from laion_assets.demo.sample_captions import invent_captions
from laion_assets.embeddings.add_embeddings import add_embeddings
from laion_assets.releases.catalog import newest_release
from laion_assets.search.filter import EVERYTHING, SearchFilter
from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore

Vectors: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
DIMENSION = 768
CLUSTERS = 2_000
# Of the variance, how much is between clusters.
BETWEEN = 0.6
NEAREST = 10
# Rows that pass each filter, of all; aesthetic scores are drawn evenly from 0 to 1,000 thousandths.
SHARES = {"all": 1.0, "30 % pass": 0.3, "0.1 % pass": 0.001}
# Words that one caption in a hundred or two has.
WORDS = ("black", "white", "red", "blue", "canvas", "love", "print", "photo")
# What autofaiss takes for a million: lists, bytes of a code, and the best compared exactly.
FAISS = "IVF4096,PQ96x8,RFlat"
FAISS_PROBES = (8, 16, 32, 64, 128)
LEAST_RECALL = 0.95


class Drawn:
    """Where vectors are drawn from."""

    def __init__(self, exponent: float, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        spread = np.arange(1, DIMENSION + 1, dtype=np.float32) ** (-exponent / 2)
        self._spread = spread / np.linalg.norm(spread)
        self._mean = random.standard_normal(DIMENSION, np.float32) / np.sqrt(DIMENSION)
        self._mean *= 0 if exponent == 0 else 1
        centers = random.standard_normal((CLUSTERS, DIMENSION), np.float32)
        self._centers = np.sqrt(BETWEEN) * centers * self._spread

    def draw(self, count: int, seed: int) -> Vectors:
        """Returns vectors of unit length."""
        random = np.random.default_rng([1, seed])
        own = random.standard_normal((count, DIMENSION), np.float32) * self._spread
        own *= np.sqrt(1 - BETWEEN)
        own += self._centers[random.integers(0, CLUSTERS, count)] + self._mean
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        return own


class Fixed:
    """An encoder whose texts are numbers of vectors, so that hybrid searches can be timed."""

    name, digest, dimension = "fixed", "none", DIMENSION

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self.number = 0

    def embed_texts(self, texts: list[str]) -> Vectors:
        """Returns the vector whose turn it is."""
        return self._vectors[[self.number] * len(texts)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--exponent", type=float, default=1.0)
    parser.add_argument("--without-faiss", action="store_true")
    parser.add_argument("--folder", type=Path, help="kept, and searched if it has a release")
    options = parser.parse_args()
    drawn = Drawn(options.exponent)
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        settings = Settings.default(options.folder or Path(folder))
        per_shard = options.rows // options.shards
        if not settings.lance_dir.exists():
            build(settings, drawn, per_shard, options.shards)
        queries = drawn.draw(options.queries, seed=10**6)
        truths = measure_search(settings, drawn, queries, per_shard, options.shards)
        if not options.without_faiss:
            measure_faiss(drawn, queries, truths["all"], per_shard, options.shards)


def build(settings: Settings, drawn: Drawn, per_shard: int, shards: int) -> None:
    """Makes a release with vectors; prints what it cost, and what one replaced shard did."""
    source = settings.data_dir / "shards"
    source.mkdir(parents=True)
    embed_s = copy_s = 0.0
    for number in range(shards):
        path = write_shard(source, f"part-{number:05}", drawn, per_shard, number)
        ingest(settings, path)
        embed_s += timed(lambda path=path: embed(settings, path.stem))  # type: ignore[misc]
        copy_s += timed(lambda path=path: copy_plainly(settings, path))  # type: ignore[misc]
    print(f"vectors of a shard of {per_shard:,}: {embed_s / shards:.1f} s, a plain copy of its")
    print(f"  .npy into Lance {copy_s / shards:.1f} s: {embed_s / copy_s:.2f} times (2 at most)")
    first = timed(lambda: refresh(settings))
    size = sum(f.stat().st_size for f in settings.lance_dir.rglob("*") if f.is_file())
    manifest = newest_release(LanceStore(settings.lance_dir))
    assert manifest
    assert manifest.vectors
    print(f"release with its indices: {first:.1f} s; all of Lance {size / 1e6:,.0f} MB")
    print(f"  {manifest.vectors}")
    path = write_shard(source, "part-00000", drawn, per_shard, shards)
    ingest(settings, path)
    embed(settings, path.stem)
    again = timed(lambda: refresh(settings))
    share = first / shards
    print(f"release after one shard of {shards} was replaced: {again:.1f} s, ", end="")
    print(f"{again / share:.2f} times its share (1.5 at most)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"largest memory of all that: {peak:,.0f} MiB")


def write_shard(folder: Path, shard: str, drawn: Drawn, rows: int, seed: int) -> Path:
    """Writes a shard and the file of its vectors beside it."""
    random = np.random.default_rng(seed)
    table = pa.table(
        {
            "url": [f"https://a{seed}.test/{row}.jpg" for row in range(rows)],
            "caption": invent_captions(rows, seed),
            "aesthetic": pa.array(random.random(rows) * 10, pa.float32()),
        }
    )
    path = folder / f"{shard}.parquet"
    np.save(folder / f"{shard}.npy", drawn.draw(rows, seed))
    pq.write_table(table, path)
    return path


def embed(settings: Settings, shard: str) -> None:
    """Adds the vectors of a shard to its rows."""
    raws, store = RawStore(settings.raw_dir), LanceStore(settings.lance_dir)
    made = add_embeddings(Database(settings.database), store, raws, shard, "none")
    assert made
    assert made[0].value_count


def copy_plainly(settings: Settings, path: Path) -> None:
    """Writes a file of vectors into a Lance table of its own, as float16, and no more."""
    import lance

    vectors = np.load(path.with_suffix(".npy"), mmap_mode="r")
    schema = pa.schema([pa.field("img_emb", pa.list_(pa.float16(), DIMENSION))])

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(vectors), 10_000):
            part = vectors[start : start + 10_000].astype(np.float16)
            column = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), DIMENSION)
            yield pa.RecordBatch.from_arrays([column], schema=schema)

    target = settings.data_dir / "plain.lance"
    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), target)
    shutil.rmtree(target)


def measure_search(
    settings: Settings, drawn: Drawn, queries: Vectors, per_shard: int, shards: int
) -> dict[str, list[set[int]]]:
    """Prints recall and times of searches; returns the nearest rows of each query, by filter."""
    fixed = Fixed(queries)
    search: CaptionSearch = open_search(LanceStore(settings.lance_dir), encoder=fixed)  # type: ignore[arg-type]
    scores = np.concatenate(
        [
            pq.read_table(path, columns=["aesthetic"])["aesthetic"].to_numpy()
            for path in sorted((settings.data_dir / "shards").glob("*.parquet"))
        ]
    )
    bounds = {name: float(np.quantile(scores, 1 - share)) for name, share in SHARES.items()}
    filters = {
        name: EVERYTHING if share == 1 else SearchFilter(min_aesthetic=bounds[name])
        for name, share in SHARES.items()
    }
    passing = {
        name: np.ones(len(scores), bool) if SHARES[name] == 1 else scores >= np.float32(bound)
        for name, bound in bounds.items()
    }
    truths = find_nearest(drawn, queries, passing, per_shard, shards)

    def name_row(hit: Any) -> int:
        return int(hit["shard"].rpartition("-")[2]) * per_shard + int(hit["row_index"])

    for name, only in filters.items():
        for query in queries[:20]:
            search.find(vector=query, only=only, limit=NEAREST)
        took, found = [], []
        for query in queries:
            started = time.perf_counter()
            answer = search.find(vector=query, only=only, limit=NEAREST)
            took.append(time.perf_counter() - started)
            found.append({name_row(hit) for hit in answer.hits})
        recall = statistics.mean(
            len(some & true) / len(true) for some, true in zip(found, truths[name], strict=True)
        )
        print(f"nearest {NEAREST}, {name}: recall {recall:.3f}, {show(took)}")
    took = []
    for number in range(len(queries)):
        fixed.number = number
        text = f"{WORDS[number % len(WORDS)]} {WORDS[(number + 1 + number // 8) % len(WORDS)]}"
        started = time.perf_counter()
        search.find(text, by="both", limit=20)
        took.append(time.perf_counter() - started)
    print(f"words and meaning together: {show(took)}")
    return truths


def find_nearest(
    drawn: Drawn,
    queries: Vectors,
    passing: dict[str, np.ndarray[Any, np.dtype[np.bool_]]],
    per_shard: int,
    shards: int,
) -> dict[str, list[set[int]]]:
    """Compares all vectors with all queries, as float16 numbers like those of the table."""
    best = {
        name: [(np.empty(0, np.float32), np.empty(0, int)) for _ in queries] for name in passing
    }
    for number in range(shards):
        # The first shard was replaced by another.
        rows = drawn.draw(per_shard, number or shards).astype(np.float16).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        scores = queries @ rows.T
        places = np.arange(number * per_shard, (number + 1) * per_shard)
        for name, all_passing in passing.items():
            fits = all_passing[places]
            for query, row in enumerate(scores):
                old_scores, old_places = best[name][query]
                some = np.concatenate([old_scores, row[fits]])
                where = np.concatenate([old_places, places[fits]])
                top = np.argpartition(-some, min(NEAREST, len(some) - 1))[:NEAREST]
                best[name][query] = some[top], where[top]
    return {name: [set(where.tolist()) for _, where in found] for name, found in best.items()}


def measure_faiss(
    drawn: Drawn, queries: Vectors, truth: list[set[int]], per_shard: int, shards: int
) -> None:
    """Prints the same of faiss, with the fewest lists looked into that reach the recall."""
    import faiss

    faiss.omp_set_num_threads(os.cpu_count() or 1)
    parts = [drawn.draw(per_shard, number or shards) for number in range(shards)]
    index = faiss.index_factory(DIMENSION, FAISS, faiss.METRIC_INNER_PRODUCT)
    started = time.perf_counter()
    index.train(np.concatenate([part[: 200_000 // shards] for part in parts]))
    for part in parts:
        index.add(part)
    print(f"faiss {FAISS}: built in {time.perf_counter() - started:.0f} s")
    faiss.omp_set_num_threads(1)
    refining: Any = faiss.IndexRefineSearchParameters
    searching: Any = faiss.SearchParametersIVF
    for probes in FAISS_PROBES:
        base = searching(nprobe=probes)
        parameters = refining(k_factor=10, base_index_params=base)
        took, found = [], []
        for query in queries:
            started = time.perf_counter()
            _, rows = index.search(query[None], NEAREST, params=parameters)
            took.append(time.perf_counter() - started)
            found.append(set(rows[0].tolist()))
        recall = statistics.mean(
            len(some & true) / len(true) for some, true in zip(found, truth, strict=True)
        )
        print(f"faiss, {probes} lists: recall {recall:.3f}, {show(took)}")
        if recall >= LEAST_RECALL:
            return


def show(seconds: list[float]) -> str:
    """Returns the median and the 95th percentile, in milliseconds."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"p50 {1000 * statistics.median(ordered):.1f} ms, p95 {1000 * p95:.1f} ms"


if __name__ == "__main__":
    report_run(main)
