"""Search over a release, beside SQLite FTS5; and what it costs to replace a shard.

Run `python -m benchmarks.search [--rows 1728119] [--shards 7] [--queries 40]` from the repository
root. One process, warm; the two engines answer the same queries one after the other. SQLite has the
captions and an external-content index, and answers the best 20 by BM25 and the number of hits; so
do we, with all columns of a hit, up to the bound of the search.
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
from dataclasses import replace
from pathlib import Path

from laion_assets.demo.shards import SampleSpec, write_sample_shards
from laion_assets.lib.counts import refresh_domain_counts, refresh_entity_counts
from laion_assets.lib.database import Database
from laion_assets.lib.images import load_shard
from laion_assets.lib.lance_images import copy_shard
from laion_assets.lib.raw_shard import fetch_shard, raw_path
from laion_assets.lib.release import ReleaseOrder, find_release, open_released, publish_release
from laion_assets.lib.search import EVERYTHING, CaptionSearch, SearchFilter, open_search
from laion_assets.lib.sheets import read_sheet, refresh_sheet
from laion_assets.lib.sources.files import describe_file
from laion_assets.settings import Settings

HITS = 20
SAMPLE_ROWS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--shards", type=int, default=7)
    parser.add_argument("--queries", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        settings = Settings.default(Path(folder))
        build(settings, options.rows, options.shards)
        measure(settings, options.queries)


def build(settings: Settings, rows: int, shard_count: int) -> None:
    """Makes and releases the shards; then replaces one, releases again, and prints both costs."""
    names = [
        row[0] for kind, path in settings.sheets.items() for row in read_sheet(kind, path).rows
    ]
    spec = SampleSpec(shard_count=shard_count, rows_per_shard=rows)
    paths = write_sample_shards(settings.data_dir / "shards", names, spec)
    (other,) = write_sample_shards(
        settings.data_dir / "other", names, SampleSpec(1, rows_per_shard=rows, seed=1)
    )
    first = timed(lambda: ingest_and_release(settings, {path.stem: path for path in paths}))
    again = timed(lambda: ingest_and_release(settings, {paths[0].stem: other}))
    unchanged = timed(lambda: refresh(settings))
    share = first / shard_count
    print(f"first build of {shard_count} shards       {first:8.1f} s, {share:.1f} s a shard")
    print(f"one replaced, and released   {again:8.1f} s, {again / share:.2f} times that share")
    print(f"released with nothing new    {unchanged:8.1f} s")


def ingest_and_release(settings: Settings, files: Mapping[str, Path]) -> None:
    for shard, path in files.items():
        ingest(settings, path, shard)
    refresh(settings)


def ingest(settings: Settings, path: Path, shard: str) -> None:
    database = Database(settings.database)
    raw = fetch_shard(replace(describe_file(path), shard=shard), settings.raw_dir)
    with database.write() as connection:
        load_shard(connection, raw, raw_path(settings.raw_dir, shard), "none")
    copy_shard(database, settings.lance_dir, shard, "none")


def refresh(settings: Settings) -> None:
    database = Database(settings.database)
    for kind, location in settings.sheets.items():
        refresh_sheet(database, kind, location)
    refresh_domain_counts(database)
    refresh_entity_counts(database, tuple(settings.sheets))
    publish_release(
        database, settings.lance_dir, tuple(settings.sheets), ReleaseOrder(run_id="none")
    )


def measure(settings: Settings, query_count: int) -> None:
    """Prints the median and the 95th percentile of each sort of query, in milliseconds."""
    search = open_search(settings.lance_dir)
    manifest = find_release(settings.lance_dir)
    images = open_released(settings.lance_dir, manifest, "images")
    row_count = images.count_rows()
    step = max(1, row_count // SAMPLE_ROWS)
    sample = images.take(list(range(0, row_count, step)), columns=["caption", "domain"])
    captions = sample["caption"].to_pylist()
    queries = choose_queries(captions, query_count)
    fts5 = build_fts5(settings, settings.data_dir / "captions.sqlite")
    print(f"{row_count:,} captions; {query_count} queries of a sort; p50 / p95 in ms")
    print(f"{'':32}{'ours':>16}{'SQLite FTS5':>20}")
    for sort, texts in queries.items():
        ours, theirs = [], []
        for text in ["lemur", *texts]:
            ours.append(1000 * timed(lambda text=text: search.find(text, limit=HITS)))  # type: ignore[misc]
            theirs.append(1000 * timed(lambda text=text: ask_fts5(fts5, text)))  # type: ignore[misc]
        print(f"{sort:32}{show(ours[1:]):>16}{show(theirs[1:]):>20}")
    domain = Counter(sample["domain"].to_pylist()).most_common(40)[-1][0]
    filters = {
        "punsafe <= 0.5, width >= 512": SearchFilter(max_punsafe=0.5, min_width=512),
        "aesthetic >= 6.5, punsafe <= 0.5": SearchFilter(min_aesthetic=6.5, max_punsafe=0.5),
        "one domain": SearchFilter(domain=domain),
        "one shard, punsafe <= 0.5": SearchFilter(shard=manifest.shards[0].shard, max_punsafe=0.5),
    }
    texts = [text for sort, some in queries.items() if sort != "a common word" for text in some]
    for name, only in filters.items():
        search.find("lemur", only=only)
        print(f"{name:32}{show(ask_all(search, texts, only)):>16}")
        common = ask_all(search, queries["a common word"], only)
        print(f"{'  the same, common words':32}{show(common):>16}")
    check(search, fts5, texts)


def ask_all(search: CaptionSearch, texts: Sequence[str], only: SearchFilter) -> list[float]:
    return [1000 * timed(lambda t=t: search.find(t, only=only, limit=HITS)) for t in texts]  # type: ignore[misc]


def check(search: CaptionSearch, fts5: sqlite3.Connection, texts: Sequence[str]) -> None:
    """Says for how many queries the numbers of hits differ."""
    ascii_texts = [text for text in texts if text.isascii()]
    differing = [
        text
        for text in ascii_texts
        if search.find(text, only=EVERYTHING, max_total=10**8).total != count_fts5(fts5, text)
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
        "a common word": [word for word, _ in words.most_common(count)],
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


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
