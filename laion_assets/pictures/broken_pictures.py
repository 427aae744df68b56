"""Looks for pictures that are not what the tables say of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from laion_assets.pictures.examine import examine
from laion_assets.pictures.sample_strip import read_pictures
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.rows import Rows, read_rows
from laion_assets.stores.shard_fragments import select_shards
from laion_assets.stores.sql import load_sql

# Of each shard; a check runs with every refresh.
SAMPLE_COUNT = 20
# A resize rounds, and a crop of a few pixels is none.
MOST_DIFFERENCE = 0.05
# The share of pictures that came is compared with the median of the other shards: how far below it
# may be, of how many others it has to be known, and how many rows have to make the difference.
LOW_SHARES = {"far": 0.2, "least_others": 3, "least_rows": 10}
# img2dataset writes the MD5 of the file before it was resized. A column is taken for that of the
# bytes in the table if this share of it agrees.
LEAST_AGREEING = 0.5


@dataclass(frozen=True)
class Differing:
    """A picture in Lance that is not what DuckDB says of it."""

    shard: str
    row_index: int
    what: str


def find_broken(database: Database, store: LanceStore) -> tuple[int, list[Differing]]:
    """Decodes some pictures of each shard again.

    Returns:
        How many were looked at, and those that cannot be decoded or differ.
    """
    query = load_sql("pictures/select_expected")
    with database.read() as connection:
        rows = connection.execute(query, {"count": SAMPLE_COUNT}).fetchall()
    expected: dict[str, dict[int, tuple[object, ...]]] = {}
    for shard, row, *found in rows:
        expected.setdefault(shard, {})[row] = tuple(found)
    broken = []
    for shard, facts_by_row in expected.items():
        contents = read_pictures(store, shard, list(facts_by_row))
        for row, facts in facts_by_row.items():
            if what := _compare(contents.get(row), facts):
                broken.append(Differing(shard, row, what))
    return len(rows), broken


def _compare(content: bytes | None, facts: tuple[object, ...]) -> str | None:
    if content is None:
        return "not in Lance"
    found = examine(content)
    if found.error:
        return found.error
    same = (found.format, len(content), found.width, found.height) == facts
    return None if same else "another picture"


def find_other_shapes(database: Database) -> Rows:
    """Returns for each shard how many pictures have another shape than `width` and `height` say."""
    with database.read() as connection:
        return read_rows(
            connection,
            load_sql("pictures/count_other_shapes"),
            {"most_difference": MOST_DIFFERENCE},
        )


def find_low_shares(database: Database) -> Rows:
    """Returns the shards of which far fewer pictures came than of the other shards."""
    with database.read() as connection:
        return read_rows(connection, load_sql("pictures/select_low_shares"), LOW_SHARES)


def find_other_md5(database: Database, store: LanceStore) -> tuple[int, list[Differing]]:
    """Compares some given pictures of each shard with the MD5 that its source says.

    Where few of a shard agree, its MD5 are of other files, as of the pictures before a resize.

    Returns:
        How many pictures have the MD5 of their bytes, and those beside them that have another.
    """
    with database.read() as connection:
        query = load_sql("pictures/select_given_samples")
        rows = connection.execute(query, {"count": SAMPLE_COUNT}).fetchall()
    rows_by_shard: dict[str, list[int]] = {}
    for shard, row in rows:
        rows_by_shard.setdefault(shard, []).append(row)
    agreeing, differing = 0, []
    for shard, sample in rows_by_shard.items():
        said = _read_md5(store, shard, sample)
        contents = read_pictures(store, shard, list(said))
        other = [row for row, content in contents.items() if _hash(content) != said[row]]
        same = len(contents) - len(other)
        if contents and same >= LEAST_AGREEING * len(contents):
            agreeing += same
            differing += [Differing(shard, row, "another MD5") for row in sorted(other)]
    return agreeing, differing


def _read_md5(store: LanceStore, shard: str, rows: Sequence[int]) -> dict[int, str]:
    """Returns what the source says of these rows, in lower case, where it says something."""
    numbers = ", ".join(map(str, rows))
    predicate = f"{select_shards([shard])} AND row_index IN ({numbers}) AND md5 IS NOT NULL"
    table = store.open("images").to_table(["row_index", "md5"], filter=predicate)
    pairs = zip(table["row_index"].to_pylist(), table["md5"].to_pylist(), strict=True)
    return {row: md5.strip().lower() for row, md5 in pairs}


def _hash(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
