"""Counting names: all of them, one new one, nothing new; beside SQLite FTS5 with the same names.

Run `python -m benchmarks.count_names [--rows 1728119] [--names 3000] [--rounds 3]` from the
repository root. The rounds are interleaved; every figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.bare import load
from benchmarks.measure import Rounds, report_run, timed
from laion_assets.counts.captions import Folding
from laion_assets.counts.refresh import refresh_entity_counts
from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.names.sheets import parse_sheet, read_sheet, store_sheet
from laion_assets.settings import Settings
from laion_assets.stores.database import Database

TINY_SHARDS = 50
NEW_NAME = "Hilma af Klint the Younger"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_728_119)
    parser.add_argument("--names", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="laion-benchmark-") as folder:
        measure(Settings.default(Path(folder)), options.rows, options.names, options.rounds)


def measure(settings: Settings, rows: int, name_count: int, rounds: int) -> None:
    """Prints seconds, seconds per million captions, and how FTS5 compares."""
    database = Database(settings.database)
    bundled = [
        row[0] for kind, path in settings.sheets.items() for row in read_sheet(kind, path).rows
    ]
    spec = SampleSpec(shard_count=1, rows_per_shard=rows)
    for path in write_sample_shards(settings.data_dir / "shards", bundled, spec):
        load(settings, path)
    captions = read_captions(database)
    names = choose_names(captions, bundled, name_count)
    labels = ("all names", "one new name", "nothing new", "FTS5, index and queries")
    timings = {label: Rounds() for label in labels}
    for _ in range(rounds):
        forget(database)
        store(database, names)
        timings["all names"].run(lambda: refresh_entity_counts(database, ["names"]))
        store(database, [*names, NEW_NAME])
        timings["one new name"].run(lambda: refresh_entity_counts(database, ["names"]))
        timings["nothing new"].run(lambda: refresh_entity_counts(database, ["names"]))
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        fts5: dict[str, int] = {}
        timings["FTS5, index and queries"].run(
            lambda out=fts5: out.update(count_with_fts5(captions, names))  # type: ignore[misc]
        )
    differing = sum(fts5[name] != count for name, count in read_counts(database) if name in fts5)
    millions = len(captions) / 1e6
    print(f"{len(captions):,} captions, {len(names):,} names, {rounds} rounds")
    for label, found in timings.items():
        each = found.median_s / millions
        print(f"{label:24} {found.describe()}   {each:6.2f} s per million")
    ratio = timings["FTS5, index and queries"].median_s / timings["all names"].median_s
    print(f"{'FTS5 takes':24} {ratio:7.1f} times as long; {differing} counts differ")
    print(f"{'peak memory':24} {peak_mib:7.0f} MiB, the captions held for FTS5 included")
    add_tiny_shards(settings, bundled)
    refresh_entity_counts(database, ["names"])
    unchanged = timed(lambda: refresh_entity_counts(database, ["names"]))
    print(f"{'nothing new':24} {unchanged:7.2f} s with {TINY_SHARDS + 1} shards")


def add_tiny_shards(settings: Settings, names: Sequence[str]) -> None:
    spec = SampleSpec(shard_count=TINY_SHARDS, rows_per_shard=10, seed=1)
    for path in write_sample_shards(settings.data_dir / "tiny", names, spec):
        load(settings, path)


def read_captions(database: Database) -> list[str]:
    with database.read() as connection:
        return [c for (c,) in connection.execute("SELECT caption FROM images").fetchall()]


def choose_names(captions: Sequence[str], bundled: Sequence[str], count: int) -> list[str]:
    """Returns the bundled names, and pairs of longer words that stand together somewhere."""
    folding = Folding()
    names = dict.fromkeys(bundled)
    for caption in captions:
        words = folding.phrase(caption).split()
        pairs = [f"{a} {b}" for a, b in pairwise(words) if len(a) > 7 and len(b) > 7]
        names.update(dict.fromkeys(pairs[:1]))
        if len(names) >= count:
            break
    return list(names)[:count]


def store(database: Database, names: Sequence[str]) -> None:
    lines = ["name", *('"' + name.replace('"', '""') + '"' for name in names)]
    with database.write() as connection:
        store_sheet(connection, parse_sheet("names", "benchmark", "\n".join(lines).encode()))


def forget(database: Database) -> None:
    """Removes what is known of the names, as if all were new."""
    with database.write() as connection:
        connection.execute("DELETE FROM caption_matches")
        connection.execute("DELETE FROM refreshes")


def read_counts(database: Database) -> list[tuple[str, int]]:
    with database.read() as connection:
        return connection.execute("SELECT name, image_count FROM entity_counts").fetchall()


def count_with_fts5(captions: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5(caption, content='', columnsize=0)")
    connection.execute("INSERT INTO f (f, rank) VALUES ('hashsize', 1073741824)")
    connection.executemany("INSERT INTO f (rowid, caption) VALUES (?, ?)", enumerate(captions))
    query = "SELECT count(*) FROM f WHERE f MATCH '\"' || ? || '\"'"
    counts = {
        name: int(connection.execute(query, (name.replace('"', '""'),)).fetchone()[0])
        for name in names
    }
    connection.close()
    return counts


if __name__ == "__main__":
    report_run(main)
