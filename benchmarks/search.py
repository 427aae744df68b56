"""Search over a release, beside SQLite FTS5; and what it costs to replace a shard.

Run `python -m benchmarks.search [--rows 1728119] [--shards 7] [--queries 40]` from the repository
root. One process, warm. SQLite has the captions and an external-content index, and answers the best
20 by BM25 and the number of hits; so do we, with all columns of a hit and up to our bound.
"""

from __future__ import annotations

import argparse
import random
import re
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.bare import ingest, refresh
from benchmarks.measure import report_run, timed
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.names.sheets import read_sheet
from laion_assets.releases.catalog import find_release, open_released
from laion_assets.search.filter import EVERYTHING, SearchFilter
from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore

HITS = 20
SAMPLE_ROWS = 20_000
COMMON = "a common word"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--shards", type=int, default=7)
    parser.add_argument("--queries", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        measure(Settings.default(Path(folder)), options.rows, options.shards, options.queries)


def measure(settings: Settings, rows: int, shard_count: int, query_count: int) -> None:
    """Prints what building and replacing cost, and the time of each sort of query."""
    names = [
        row[0] for kind, path in settings.sheets.items() for row in read_sheet(kind, path).rows
    ]
    spec = SampleSpec(shard_count=shard_count, rows_per_shard=rows)
    paths = write_sample_shards(settings.data_dir / "shards", names, spec)
    (other,) = write_sample_shards(
        settings.data_dir / "other", names, SampleSpec(1, rows_per_shard=rows, seed=1)
    )
    first = timed(lambda: ingest_and_release(settings, {path.stem: path for path in paths}))
    share = first / shard_count
    print(f"first build of {shard_count} shards       {first:8.1f} s, {share:.1f} s a shard")
    captions, domain = read_sample(settings)
    queries = choose_queries(captions, query_count)
    fresh = ask(settings, queries, domain)
    again = timed(lambda: ingest_and_release(settings, {paths[0].stem: other}))
    unchanged = timed(lambda: refresh(settings))
    print(f"one replaced, and released   {again:8.1f} s, {again / share:.2f} times that share")
    print(f"released with nothing new    {unchanged:8.1f} s")
    replaced = ask(settings, queries, domain)
    fts5 = build_fts5(settings, settings.data_dir / "captions.sqlite")
    theirs = {
        sort: time_all(lambda text: ask_fts5(fts5, text), texts) for sort, texts in queries.items()
    }
    print(f"{query_count} queries of a sort; p50 / p95 in ms")
    print(f"{'':50}{'built at once':>16}{'one replaced':>16}{'SQLite FTS5':>20}")
    for sort, fresh_ms in fresh.items():
        theirs_ms = show(theirs[sort]) if sort in theirs else ""
        print(f"{sort:50}{show(fresh_ms):>16}{show(replaced[sort]):>16}{theirs_ms:>20}")
    check(
        open_search(LanceStore(settings.lance_dir)),
        fts5,
        [text for some in queries.values() for text in some],
    )


def read_sample(settings: Settings) -> tuple[list[str], str]:
    """Returns captions from all over the newest release, and a domain of middling size."""
    images = open_released(
        LanceStore(settings.lance_dir), find_release(LanceStore(settings.lance_dir)), "images"
    )
    row_count = images.count_rows()
    rows = list(range(0, row_count, max(1, row_count // SAMPLE_ROWS)))
    sample = images.take(rows, columns=["caption", "domain"])
    print(f"{row_count:,} captions")
    domain = Counter(sample["domain"].to_pylist()).most_common(40)[-1][0]
    return sample["caption"].to_pylist(), str(domain)


def ask(
    settings: Settings, queries: Mapping[str, Sequence[str]], domain: str
) -> dict[str, list[float]]:
    """Returns the milliseconds of each query of the newest release, by sort and filter."""
    search = open_search(LanceStore(settings.lance_dir))
    shard = find_release(LanceStore(settings.lance_dir)).shards[-1].shard
    filters = {
        "": EVERYTHING,
        "punsafe <= 0.5, width >= 512": SearchFilter(max_punsafe=0.5, min_width=512),
        "aesthetic >= 6.5, punsafe <= 0.5": SearchFilter(min_aesthetic=6.5, max_punsafe=0.5),
        "one domain": SearchFilter(domain=domain),
        "one shard, punsafe <= 0.5": SearchFilter(shard=shard, max_punsafe=0.5),
    }
    several = [text for sort, some in queries.items() if sort != COMMON for text in some]
    milliseconds = {sort: ask_all(search, texts, EVERYTHING) for sort, texts in queries.items()}
    for name, only in list(filters.items())[1:]:
        milliseconds[name] = ask_all(search, several, only)
        milliseconds[f"  {COMMON}, {name}"] = ask_all(search, queries[COMMON], only)
    return milliseconds


def ingest_and_release(settings: Settings, files: Mapping[str, Path]) -> None:
    for shard, path in files.items():
        ingest(settings, path, shard)
    refresh(settings)


def ask_all(search: CaptionSearch, texts: Sequence[str], only: SearchFilter) -> list[float]:
    """Returns the milliseconds of each query."""
    return time_all(lambda text: search.find(text, only=only, limit=HITS), texts)


def time_all(answer: Callable[[str], object], texts: Sequence[str]) -> list[float]:
    """Returns the milliseconds of each query, after a few to warm up."""
    for text in texts[:3]:
        answer(text)
    return [1000 * timed(lambda text=text: answer(text)) for text in texts]  # type: ignore[misc]


def check(search: CaptionSearch, fts5: sqlite3.Connection, texts: Sequence[str]) -> None:
    """Says for how many queries the numbers of hits differ."""
    ascii_texts = [text for text in texts if text.isascii()]
    differing = [
        text
        for text in ascii_texts
        if search.find(text, only=EVERYTHING).total != count_fts5(fts5, text)
    ]
    print(f"number of hits: {len(differing)} of {len(ascii_texts)} differ {differing[:3]}")


def choose_queries(captions: Sequence[str], count: int) -> dict[str, list[str]]:
    """Returns queries of each sort, as they occur in a sample of captions."""
    rng = random.Random(0)  # noqa: S311
    words = Counter(word for c in captions for word in set(re.findall(r"[a-z]{3,}", c.lower())))
    rare = sorted(word for word, n in words.items() if n <= 2)
    middle = sorted(word for word, n in words.items() if 0.0005 < n / len(captions) < 0.005)
    pairs = [
        two
        for c in rng.sample(list(captions), min(len(captions), 20 * count))
        if len(two := re.findall(r"\b[a-z]{4,}\b", c.lower())[:2]) == 2
    ]
    phrases = [
        match[0].lower()
        for c in rng.sample(list(captions), min(len(captions), 20 * count))
        if (match := re.search(r"\b[A-Za-z]{4,} [A-Za-z]{4,}\b", c))
    ]
    return {
        "a rare word": rng.sample(rare, min(count, len(rare))),
        "a middling word": rng.sample(middle, min(count, len(middle))),
        "two words of a caption": [" ".join(two) for two in pairs[:count]],
        "a phrase of a caption": [f'"{phrase}"' for phrase in phrases[:count]],
        COMMON: [word for word, _ in words.most_common(count)],
    }


def build_fts5(settings: Settings, path: Path) -> sqlite3.Connection:
    fts5 = sqlite3.connect(path)
    started = time.perf_counter()
    fts5.execute("CREATE TABLE images (caption TEXT)")
    with Database(settings.database).read() as connection:
        cursor = connection.execute("SELECT caption FROM images")
        while rows := cursor.fetchmany(100_000):
            fts5.executemany("INSERT INTO images VALUES (?)", rows)
    fts5.execute("CREATE VIRTUAL TABLE f USING fts5(caption, content='images')")
    fts5.execute("INSERT INTO f (f) VALUES ('rebuild')")
    fts5.commit()
    print(f"SQLite FTS5: table and index {time.perf_counter() - started:8.1f} s")
    return fts5


def ask_fts5(fts5: sqlite3.Connection, text: str) -> None:
    query = "SELECT rowid, caption FROM f WHERE f MATCH ? ORDER BY rank LIMIT ?"
    fts5.execute(query, (text, HITS)).fetchall()
    count_fts5(fts5, text)


def count_fts5(fts5: sqlite3.Connection, text: str) -> int:
    ((count,),) = fts5.execute("SELECT count(*) FROM f WHERE f MATCH ?", (text,)).fetchall()
    return int(count)


def show(milliseconds: Sequence[float]) -> str:
    ordered = sorted(milliseconds)
    return f"{ordered[len(ordered) // 2]:.1f} / {ordered[int(0.95 * len(ordered))]:.1f}"


if __name__ == "__main__":
    report_run(main)
