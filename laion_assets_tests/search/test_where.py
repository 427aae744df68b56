"""Conditions in SQL: a safe subset, and what DuckDB finds with it."""

import random
import re

import pyarrow as pa
import pytest

from laion_assets.errors import LaionError
from laion_assets.search.filter import SearchFilter
from laion_assets.search.search import open_search
from laion_assets.search.where import read_where
from laion_assets.settings import Settings
from laion_assets.stores.database import open_engine
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.declared_columns.test_add_declared import add, declare
from laion_assets_tests.pipeline import bring
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

COUNT = 60
DECLARED = """
[columns.day]
sql = "DATE '2020-01-01' + width"
[columns.is_wide]
sql = "width > height"
[columns.ratio]
sql = "CAST(width AS DOUBLE) / height"
"""
TEXTS = ["a fox", "A Fox", "100%", "a_b", "back\\slash", "o'clock", "müde"]


@pytest.fixture
def store(settings: Settings) -> LanceStore:
    chance = random.Random(3)  # noqa: S311
    rows = pa.table(
        {
            "url": [f"https://a.test/{row}.jpg" for row in range(COUNT)],
            "caption": [chance.choice(TEXTS) for _ in range(COUNT)],
            "width": pa.array(
                [chance.choice([None, 1, 5, 7, 20]) for _ in range(COUNT)], pa.int32()
            ),
            "height": pa.array([chance.choice([None, 0, 5, 7]) for _ in range(COUNT)], pa.int32()),
            "aesthetic": pa.array(
                [chance.choice([None, 6.7, 5.0, 7.25]) for _ in range(COUNT)], pa.float32()
            ),
            "license": [chance.choice([None, "CC-BY", "?"]) for _ in range(COUNT)],
        }
    )
    bring(settings, "a", rows)
    add(settings, declare(settings, DECLARED))
    return LanceStore(settings.lance_dir)


ALLOWED = [
    "width > 5",
    "WIDTH >= 5.5 AND NOT (height = 7)",
    "aesthetic >= 6.7",
    "aesthetic < 6.7 OR license IS NULL",
    "width BETWEEN 5 AND 7.5",
    "NOT width BETWEEN 2 AND 6",
    "width IN (1, 7) OR height NOT IN (0, 5)",
    "license = 'CC-BY' AND width <> 1",
    "caption LIKE 'a%' AND caption NOT LIKE '%x'",
    "caption ILIKE 'A FOX'",
    "caption LIKE 'back\\slash'",
    "caption LIKE '%o''clock'",
    "caption = 'müde'",
    "width * 2 - 3 > height + 1",
    "-width < -5",
    "is_wide",
    "is_wide = false",
    "ratio > 1.2",
    "day > DATE '2020-01-06'",
    "split = 'train' AND (width > 5 OR NULL)",
    "license IS NOT NULL -- a comment",
    "true",
]


@pytest.mark.exhaustive
def test_a_condition_finds_what_duckdb_finds(store: LanceStore) -> None:
    search = open_search(store, is_newest=True)
    with open_engine() as engine:
        engine.register("images", store.open("images").to_table())
        for where in ALLOWED:
            rows = engine.execute(f"SELECT row_index FROM images WHERE {where}").fetchall()
            found = search.find("site:a.test", only=SearchFilter(where=where), limit=COUNT)
            assert {hit["row_index"] for hit in found.hits} == {row for (row,) in rows}, where
        fox = search.find("fox", only=SearchFilter(where="width > 5", license="CC-BY"), limit=COUNT)
        query = (
            "SELECT count(*) FROM images WHERE caption ILIKE '%fox%' AND width > 5 "
            "AND license = 'CC-BY'"
        )
        assert (fox.total,) == engine.execute(query).fetchone()


REFUSED = {
    "width": "where-no-condition",
    "1": "where-no-condition",
    "width / height > 2": "where-part",
    "width % 2 = 0": "where-part",
    "lower(caption) = 'x'": "where-part",
    "lpad(caption, 1000000000, 'x') = 'x'": "where-part",
    "CASE WHEN width > 1 THEN true END": "where-part",
    "caption LIKE license": "where-part",
    "TRY_CAST(caption AS DOUBLE) = 1": "where-part",
    # DuckDB rounds here, and Lance does not.
    "CAST(similarity AS INTEGER) = 1": "where-part",
    "width = (SELECT 1)": "expression-part",
    "random() > 0.5": "expression-function",
    "caption_words IS NULL": "expression-column",
    "image IS NULL": "expression-column",
    "none = 1": "expression-column",
    "width > 1; DROP TABLE images": "expression-syntax",
    "width > 1) OR (true": "expression-syntax",
    "width > 3000000000": "where-not-comparable",
    "": "expression-empty",
    "width > 1 " + "AND width > 1 " * 100: "where-too-long",
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("where", ["width >", "width > 1; DROP", "width > 'a'"])
def test_a_refusal_says_nothing_of_what_is_inside(store: LanceStore, where: str) -> None:
    with pytest.raises(LaionError) as refused:
        read_where(where, store.open("images"))
    assert not re.search(r"FROM|\.rs:", str(refused.value))


def test_everything_else_is_refused(store: LanceStore) -> None:
    dataset = store.open("images")
    for where, code in REFUSED.items():
        with raises(code):
            read_where(where, dataset)


@pytest.mark.exhaustive
def test_names_and_values_are_quoted(store: LanceStore) -> None:
    dataset = store.open("images")
    assert read_where('"Width" > 5', dataset) == "(`width` > 5)"
