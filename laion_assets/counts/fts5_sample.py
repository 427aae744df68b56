"""Asks SQLite FTS5 itself about a sample of names and one shard, and compares with our counts."""

from __future__ import annotations

import random
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.counts.refresh import read_phrases
from laion_assets.stores.database import Database, stream
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_NAMES = 200


@dataclass(frozen=True)
class SampleComparison:
    """How our counts of a sample compare with those of FTS5.

    Attributes:
        shard: the shard whose captions were asked; None if there is none.
        name_count: names in the sample.
        caption_count: captions of the shard that can have one of them, which FTS5 was given.
        differing: for each name that differs our count, and that of FTS5.
    """

    shard: str | None
    name_count: int
    caption_count: int
    differing: Mapping[str, tuple[int, int]]


def compare_with_fts5(database: Database, kinds: Iterable[str]) -> SampleComparison:
    """Compares the counts of 200 names in one shard; the same state gives the same sample."""
    with database.read() as connection:
        loads = connection.execute(load_sql("counts/select_load_ids")).fetchall()
        phrases = read_phrases(connection, kinds)
        if not loads or not phrases:
            return SampleComparison(None, 0, 0, {})
        chooser = random.Random(str(loads))  # noqa: S311 - a sample, not a secret
        shard, load_id = chooser.choice(loads)
        names = chooser.sample(sorted(phrases), min(SAMPLE_NAMES, len(phrases)))
        matches = dict(
            connection.execute(load_sql("counts/select_matches"), {"load_id": load_id}).fetchall()
        )
        parameters = {"shard": shard, "load_id": load_id, "filter": _filter_captions(names)}
        with stream(connection, load_sql("counts/select_likely_captions"), parameters) as reader:
            caption_count, expected = _ask_fts5(reader, names)
    ours = {name: matches.get(phrases[name], 0) for name in names}
    differing = {n: (ours[n], expected[n]) for n in names if ours[n] != expected[n]}
    return SampleComparison(shard, len(names), caption_count, differing)


def _filter_captions(names: Iterable[str]) -> str:
    """Returns a regular expression that every ASCII caption with one of the names fits.

    It knows nothing of how we count: in such a caption the ASCII letters and digits of a name stand
    as they are but for their case, with at least one other character where the name has some. What
    stands for a letter that is not ASCII is not known, so of a name that has one only the longest
    run is looked for; if nothing is left of it, every caption fits.
    """
    likely = set()
    for name in names:
        if any(c.isascii() and c.isalnum() for c in unicodedata.normalize("NFKD", name)):
            runs = re.findall(r"[A-Za-z0-9]+", name)
            likely.add(
                r"[^A-Za-z0-9]+".join(runs) if name.isascii() else max(runs, key=len, default="")
            )
    # The empty class fits nothing.
    return f"(?i){'|'.join(sorted(likely))}" if likely else r"[^\s\S]"


def _ask_fts5(
    captions: Iterable[pa.RecordBatch], names: Iterable[str]
) -> tuple[int, dict[str, int]]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(load_sql("counts/fts5_create_captions"))
        connection.execute(load_sql("counts/fts5_set_hash_size"))
        caption_count = 0
        for batch in captions:
            rows = enumerate(batch.column(0).to_pylist(), start=caption_count)
            connection.executemany(load_sql("counts/fts5_insert_captions"), rows)
            caption_count += batch.num_rows
        query = load_sql("counts/fts5_count_matches")
        quoted = {name: name.replace('"', '""') for name in names}
        return caption_count, {
            name: int(connection.execute(query, (text,)).fetchone()[0])
            for name, text in quoted.items()
        }
    finally:
        connection.close()
