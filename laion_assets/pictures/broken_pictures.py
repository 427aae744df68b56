"""Looks for pictures that are not what the tables say of them."""

from __future__ import annotations

from dataclasses import dataclass

from laion_assets.pictures.examine import examine
from laion_assets.pictures.sample_strip import read_pictures
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.rows import Rows, read_rows
from laion_assets.stores.sql import load_sql

# Of each shard; a check runs with every refresh.
SAMPLE_COUNT = 20
# A resize rounds, and a crop of a few pixels is none.
MOST_DIFFERENCE = 0.05


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
