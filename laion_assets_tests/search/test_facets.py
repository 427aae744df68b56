"""The counts of facets, compared with SQL over DuckDB and with the filters that they lead to."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from laion_assets.errors import LaionError
from laion_assets.search import facets
from laion_assets.search.facets import EDGES, TEXTS, Facet, FacetValue
from laion_assets.search.filter import EVERYTHING, SCORES, SIZES, Bounds, SearchFilter
from laion_assets.settings import Settings
from laion_assets_tests.pipeline import bring, refresh
from laion_assets_tests.search.both import Both, open_both

WORDS = ("fox", "red", "lemur", "dress", "café", "2")
HOSTS = (
    "i.pinimg.com",
    "pinimg.com",
    "a.blogspot.com",
    "b.blogspot.com",
    "example.org",
    "10.0.0.1",
)
ROWS = 600
SIDE_CASE = """CASE WHEN least(width, height) IS NULL OR width IS NULL OR height IS NULL THEN NULL
    WHEN least(width, height) < 256 THEN 'small' WHEN least(width, height) < 512 THEN 'medium'
    WHEN least(width, height) < 1024 THEN 'large' ELSE 'huge' END"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    settings = Settings.default(tmp_path_factory.mktemp("facets"))
    chance = random.Random(3)  # noqa: S311
    for shard in ("alpha", "beta", "gamma"):
        bring(settings, shard, make_rows(chance, has_labels=shard != "gamma"))
    refresh(settings)
    with open_both(settings) as opened:
        yield opened


def make_rows(chance: random.Random, *, has_labels: bool) -> pa.Table:
    def some(values: tuple[object, ...]) -> list[object]:
        return [chance.choice(values) for _ in range(ROWS)]

    columns = {
        "url": [f"http://{chance.choice(HOSTS)}/{n}.jpg" for n in range(ROWS)],
        "text": [" ".join(chance.choices(WORDS, k=3)) for _ in range(ROWS)],
        "width": some((None, 100, 255, 256, 511, 512, 1023, 1024, 4000)),
        "height": some((None, 255, 256, 512, 1024, 1500)),
        # The edges of the bars themselves, as 32-bit floats hold them and as they do not.
        "aesthetic": some((None, 0.0, 3.0, 4.5, 6.5, 6.4999999, 6.7, 8.0, 10.0)),
        "similarity": some((None, 0.15, 0.28, 0.30000001, 0.3, 0.34, 0.9)),
        "punsafe": some((None, 0.0, 0.1, 0.5, 0.9, 1.0)),
        "pwatermark": some((None, 0.1, 0.7, 0.95)),
    }
    if has_labels:
        columns |= {
            "license": some((None, "CC-BY 2.0", "CC0", "all rights reserved; 'quoted'")),
            "nsfw": some((None, "UNLIKELY", "NSFW", "UNSURE")),
            "language": some((None, "en", "de", "日本語")),
        }
    return pa.table(columns)


def count_by(both: Both, expression: str, word: str) -> dict[str | None, int]:
    """How many captions with the word have each value of an expression, in DuckDB."""
    query = f"""
        SELECT {expression} AS value, count(*) FROM images
        WHERE list_contains(string_split(caption, ' '), $word) GROUP BY value
    """
    return dict(both.sql.execute(query, {"word": word}).fetchall())


def find_facet(both: Both, name: str, word: str, only: SearchFilter = EVERYTHING) -> Facet:
    counted = both.search.count_facets(word, only)
    assert counted is not None
    assert counted.is_exact
    (facet,) = (facet for facet in counted.facets if facet.name == name)
    return facet


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_counted_as_sql_does(both: Both, name: str, word: str) -> None:
    facet = find_facet(both, name, word)
    expected = count_by(both, TEXTS[name], word)

    assert facet.missing_count == expected.pop(None, 0)
    assert {v.value: v.image_count for v in facet.values} == expected
    counts = [value.image_count for value in facet.values]
    assert counts == sorted(counts, reverse=True)
    assert (facet.other_values, facet.other_count) == (0, 0)


@pytest.mark.parametrize("word", WORDS)
def test_sizes_are_counted_as_sql_does(both: Both, word: str) -> None:
    facet = find_facet(both, "size", word)
    expected = count_by(both, SIDE_CASE, word)

    assert facet.missing_count == expected.pop(None)
    assert {v.value: v.image_count for v in facet.values} == expected
    assert [v.value for v in facet.values] == list(SIZES)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("name", EDGES)
def test_scores_are_counted_as_sql_does(both: Both, name: str, word: str) -> None:
    facet = find_facet(both, name, word)

    cases = " ".join(
        f"WHEN {name} < {float(np.float32(edge))!r}::FLOAT THEN {index}"
        for index, edge in enumerate(EDGES[name])
    )
    last = len(EDGES[name])
    expected = count_by(both, f"CASE WHEN {name} IS NULL THEN NULL {cases} ELSE {last} END", word)
    assert facet.missing_count == expected.pop(None)
    counts = [value.image_count for value in facet.values]
    assert counts == [expected.get(index, 0) for index in range(last + 1)]  # type: ignore[call-overload]


@pytest.mark.parametrize("word", ["fox", "red café"])
def test_each_value_leads_to_as_many_images(both: Both, word: str) -> None:
    """What is clicked shows the number that was promised."""
    counted = both.search.count_facets(word)
    assert counted is not None
    for facet in counted.facets:
        for value in facet.values:
            wanted: Any = Bounds.read(value.value) if facet.name in SCORES else value.value
            only = replace(EVERYTHING, **{facet.name: wanted})
            assert both.search.find(word, only=only).total == value.image_count, (facet, value)


def test_facets_are_of_what_is_shown(both: Both) -> None:
    only = SearchFilter(hide_punsafe_above=0.5, site="pinimg.com", aesthetic=Bounds(4, None))
    answer = both.search.find("fox", only=only)

    counted = both.search.count_facets("fox", only)

    assert counted is not None
    assert answer.hidden > 0
    assert counted.counted == answer.shown
    (site,) = (facet for facet in counted.facets if facet.name == "site")
    assert site.values == (FacetValue("pinimg.com", answer.shown),)


def test_nothing_has_no_facets(both: Both) -> None:
    counted = both.search.count_facets("nosuchword")

    assert counted is not None
    assert (counted.counted, counted.facets) == (0, ())


def test_a_column_that_is_empty_is_no_facet(both: Both) -> None:
    counted = both.search.count_facets("fox", SearchFilter(shard="gamma"))

    assert counted is not None
    names = {facet.name for facet in counted.facets}
    assert names == {"site", "domain", "shard", "size", *EDGES}


def test_the_commonest_values_are_told_and_the_others_counted(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facets, "MAX_VALUES", 2)

    facet = find_facet(both, "domain", "fox")

    expected = sorted(count_by(both, "domain", "fox").items(), key=lambda pair: (-pair[1], pair[0]))
    assert [(v.value, v.image_count) for v in facet.values] == expected[:2]
    assert facet.other_values == len(expected) - 2
    assert facet.other_count == sum(count for _, count in expected[2:])


def test_beyond_the_bound_some_are_counted_and_it_says_so(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facets, "MAX_COUNTED", 100)
    total = both.search.find("fox").total

    counted = both.search.count_facets("fox")

    assert counted is not None
    assert not counted.is_exact
    assert 50 <= counted.counted <= 100 < total
    for facet in counted.facets:
        told = sum(value.image_count for value in facet.values)
        assert told + facet.other_count + facet.missing_count == counted.counted


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("6.5..7", Bounds(6.5, 7)),
        ("..0.1", Bounds(None, 0.1)),
        (" 0.9 .. ", Bounds(0.9, None)),
        ("-1..1e3", Bounds(-1, 1000)),
    ],
)
def test_ranges_are_read_and_written(text: str, bounds: Bounds) -> None:
    assert Bounds.read(text) == bounds
    assert Bounds.read(str(bounds)) == bounds


@pytest.mark.parametrize(
    "text", ["", "..", "6", "6.5-7", "a..b", "7..6.5", "7..7", "nan..1", "1..2..3"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(LaionError, match=r"is not a range|is an empty range"):
        Bounds.read(text)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(LaionError, match="size: 'vast' is not one of small, medium, large, huge"):
        SearchFilter(size="vast")
