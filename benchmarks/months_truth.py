"""Shards of which every row is known, and the comparison of a release with them."""

from __future__ import annotations

import hashlib
import io
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import lance
import pyarrow as pa
import pyarrow.parquet as pq

from laion_assets.releases.catalog import newest_release, open_released
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore

COLUMNS = ("shard", "row_index", "url", "caption", "domain", "width", "height", "hash")
REJECTED_COLUMNS = ("shard", "row_index", "reason")
NAMES = ("Ada Example", "Bo Sample", "Cy Instance")
WORDS = ("fox", "river", "lamp", "garden", "boat", "portrait", "winter", "map")
# Of so many rows one has no caption.
REJECTED_EVERY = 40
Row: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Shard:
    """A parquet file, and what has to become of it.

    Attributes:
        name: partition key.
        edition: another one has other rows.
        content: the file.
        rows: what `images` has to hold, by `COLUMNS`.
        rejected: what `rejected_images` has to hold, by `REJECTED_COLUMNS`.
    """

    name: str
    edition: int
    content: bytes
    rows: tuple[Row, ...]
    rejected: tuple[Row, ...]

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def make_shard(name: str, row_count: int, edition: int = 0) -> Shard:
    """Returns a shard; each edition of it has other rows."""
    draw = random.Random(f"{name} {edition}")  # noqa: S311
    rows, rejected, captions = [], [], []
    for row in range(row_count):
        domain = f"site{draw.randrange(20)}.example{draw.randrange(5)}.com"
        words = [*draw.choices(WORDS, k=4), draw.choice(NAMES) if row % 7 == 0 else "plain"]
        caption = f"{' '.join(words)} {name} {edition} {row}"
        url = f"https://{domain}/{name}/{edition}/{row}.jpg"
        size = (draw.randrange(64, 2000), draw.randrange(64, 2000), draw.getrandbits(62))
        rows.append((name, row, url, caption, domain, *size))
        captions.append(caption)
        if row % REJECTED_EVERY == REJECTED_EVERY - 1:
            captions[-1] = " "
            rejected.append((name, row, "missing_caption"))
    columns = list(zip(*rows, strict=True))
    table = pa.table(
        {
            "URL": columns[2],
            "TEXT": captions,
            "WIDTH": columns[5],
            "HEIGHT": columns[6],
            "hash": columns[7],
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    kept = tuple(row for row, caption in zip(rows, captions, strict=True) if caption.strip())
    return Shard(name, edition, file.getvalue(), kept, tuple(rejected))


def find_missing(settings: Settings, expected: Mapping[str, Shard]) -> list[str]:
    """Returns the shards that the newest release has not, or has from another file."""
    newest = newest_release(LanceStore(settings.lance_dir))
    found = {shard.shard: shard.sha256 for shard in newest.shards} if newest else {}
    wanted = {name: shard.sha256 for name, shard in expected.items()}
    return sorted(name for name in wanted | found if wanted.get(name) != found.get(name))


def compare(settings: Settings, expected: Mapping[str, Shard]) -> list[str]:
    """Compares DuckDB and the newest release with all rows, value for value.

    Returns:
        What differs, a line each.
    """
    store = LanceStore(settings.lance_dir)
    newest = newest_release(store)
    if newest is None:
        return ["there is no release"]
    rows = sorted(row for shard in expected.values() for row in shard.rows)
    rejected = sorted(row for shard in expected.values() for row in shard.rejected)
    domains = Counter(str(row[COLUMNS.index("domain")]) for row in rows)
    captions = [str(row[COLUMNS.index("caption")]) for row in rows]
    names = {name: sum(name in caption for caption in captions) for name in NAMES}
    with Database(settings.database).read() as connection:

        def select(table: str, *columns: str) -> list[Row]:
            return connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()

        pairs: dict[str, tuple[list[Row], list[Row]]] = {
            "images in DuckDB": (rows, select("images", *COLUMNS)),
            "rejected_images": (rejected, select("rejected_images", *REJECTED_COLUMNS)),
        }
    pairs["images in the release"] = (rows, read(open_released(store, newest, "images"), *COLUMNS))
    counted = read(open_released(store, newest, "domain_counts"), "domain", "image_count")
    pairs["domain_counts"] = (list(domains.items()), counted)
    found = read(open_released(store, newest, "entity_counts"), "kind", "name", "image_count")
    artists = [row[1:] for row in found if row[0] == "artists"]
    pairs["entity_counts"] = (list(names.items()), artists)
    return [
        line
        for what, (want, have) in pairs.items()
        if (line := describe_difference(what, Counter(want), Counter(have)))
    ]


def read(dataset: lance.LanceDataset, *columns: str) -> list[Row]:
    """Returns the rows of a Lance table."""
    table = dataset.to_table(columns=list(columns))
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def describe_difference(what: str, want: Counter[Row], have: Counter[Row]) -> str | None:
    """Returns how many rows are lost and how many are too many, with the first of each."""
    lost, extra = want - have, have - want
    if not lost and not extra:
        return None
    examples = [next(iter(rows)) for rows in (lost, extra) if rows]
    return f"{what}: {lost.total()} rows are lost, {extra.total()} are too many, as {examples}"
