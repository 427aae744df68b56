"""The search over captions, on a release of a few rows."""

import math
import unicodedata
from dataclasses import replace

import pyarrow as pa
import pytest

from laion_assets.errors import LaionError
from laion_assets.search.filter import EVERYTHING, SearchFilter
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import bring, ingest, refresh
from laion_assets_tests.raises import raises

CAPTIONS = [
    "A red dress",
    "red, red DRESS code",
    "dress in red",
    'the "Mona Lisa"',
    "it's 50% off!",
    "nothing",
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.default(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def tag(settings: Settings) -> str:
    """A release of one shard, and after it another release with one more."""
    columns = {
        "url": [f"https://{'a' if i % 2 else 'b'}.test/{i}" for i in range(len(CAPTIONS))],
        "caption": CAPTIONS,
        "width": [100, 200, 300, None, 500, 600],
        "punsafe": [0.1, 0.9, None, 0.5, 0.5, 0.5],
        "aesthetic": [5.0, 6.0, 7.0, None, 5.5, 5.5],
    }
    bring(settings, "one", pa.table(columns))
    first = refresh(settings)
    bring(settings, "two", pa.table({"url": ["https://c.test/"], "caption": ["red again"]}))
    refresh(settings)
    return first


def find(settings: Settings, tag: str, query: str, only: SearchFilter = EVERYTHING) -> set[int]:
    """The positions of the captions that are found, whose number is the total."""
    answer = open_search(LanceStore(settings.lance_dir), tag).find(query, only=only)
    found = {int(str(hit["row_index"])) for hit in answer.hits}
    assert answer.total == answer.shown == len(found)
    return found


QUERIES = {
    "one word": ("RED", {0, 1, 2}),
    "all words": ("red dress", {0, 1, 2}),
    "a phrase": ('"red dress"', {0, 1}),
    "signs between": ('"mona lisa"', {3}),
    "an apostrophe": ("it's", {4}),
    "no such word": ("lemur", set()),
    "syntax of SQL": ("' OR 1=1 --", set()),
    "syntax of FTS5": ("red NOT dress", set()),
    "an open quote": ('"red dress', {0, 1, 2}),
    "no letter": ("!!! ***", set()),
    "nothing": ("", set()),
    "quotes alone": ('""', set()),
    "a phrase and a word": ('"red dress" code', {1}),
    "two phrases": ('"red dress" "dress code"', {1}),
    "a phrase in a word": ('cod"red dress"e', set()),
    "a sign within": ("red-dress", {0, 1}),
    "signs within, and a word": ("code red/dress", {1}),
    "a sign within, in another order": ("dress.red", set()),
    "a sign at the end": ("dress- red", {0, 1, 2}),
    "an emoji": ("😀", set()),
    "an ellipsis": ("…", set()),
    "half a character": ("\ud800", set()),
    "a word many times": ("red " * 400, {0, 1, 2}),
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_query_is_words_or_a_phrase_and_never_an_error(
    settings: Settings, tag: str, case: str
) -> None:
    query, expected = QUERIES[case]
    assert find(settings, tag, query) == expected


FILTERS = {
    "domain": (SearchFilter(domain="B.test"), {0, 2}),
    "shard": (SearchFilter(shard="one"), {0, 1, 2}),
    "another shard": (SearchFilter(shard="o'ne"), set()),
    "unsafe or unknown": (SearchFilter(max_punsafe=0.5), {0}),
    "aesthetic": (SearchFilter(min_aesthetic=6), {1, 2}),
    "width": (SearchFilter(min_width=200), {1, 2}),
    "height, which no row has": (SearchFilter(min_height=0), set()),
    "half a pixel": (SearchFilter(min_width=199.5), {1, 2}),  # type: ignore[arg-type]
    "two": (SearchFilter(min_width=200, domain="a.test"), {1}),
    "all": (
        SearchFilter(
            domain="b.test",
            shard="one",
            min_aesthetic=7,
            min_width=300,
        ),
        {2},
    ),
}


@pytest.mark.parametrize("case", FILTERS)
def test_a_filter_leaves_what_fits(settings: Settings, tag: str, case: str) -> None:
    only, expected = FILTERS[case]
    assert find(settings, tag, "red", only) == expected


NO_VALUES: dict[str, dict[str, object]] = {
    "no number": {"min_aesthetic": math.nan},
    "infinite": {"max_punsafe": math.inf},
    "too large": {"min_width": 10**30},
}


@pytest.mark.parametrize("case", NO_VALUES)
def test_what_no_value_can_be_is_refused(case: str) -> None:
    (name,) = NO_VALUES[case]
    with pytest.raises(LaionError, match=f"{name}: .* is not a value"):
        SearchFilter(**NO_VALUES[case])  # type: ignore[arg-type]


def test_a_query_of_a_book_is_refused(settings: Settings, tag: str) -> None:
    with raises("query-too-long"):
        open_search(LanceStore(settings.lance_dir), tag).find("red " * 5000)


def test_the_best_come_first_and_the_total_counts_all(settings: Settings, tag: str) -> None:
    answer = open_search(LanceStore(settings.lance_dir), tag).find("red", limit=1)

    assert [hit["caption"] for hit in answer.hits] == ["red, red DRESS code"]
    assert answer.total == 3


def test_the_newest_release_is_searched_unless_another_is_named(
    settings: Settings, tag: str
) -> None:
    newest, old = (open_search(LanceStore(settings.lance_dir), r).find("red") for r in (None, tag))

    assert (old.total, old.release) == (3, tag)
    assert (newest.total, newest.release) == (4, f"{tag}.2")


def test_a_release_that_is_not_there_names_the_newest(settings: Settings, tag: str) -> None:
    with pytest.raises(LaionError) as refusal:
        open_search(LanceStore(settings.lance_dir), "1999-01-01")

    assert str(refusal.value).endswith(f"no release '1999-01-01'; the newest is {tag}.2")


ACCENTS = {
    "composed": ("Eugène Delacroix", {0, 1, 2}),
    "decomposed": (unicodedata.normalize("NFD", "Eugène Delacroix"), {0, 1, 2}),
    "a phrase": ('"Eugène Delacroix"', {0, 1}),
    "none": ('"eugene delacroix"', {0, 1}),
    "another word": ("eugène lemur", set()),
    "a sign as a word": ("eugène – delacroix", {0, 1, 2}),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", ACCENTS)
def test_accents_are_found_however_they_are_written(settings: Settings, case: str) -> None:
    query, expected = ACCENTS[case]
    name = "Eugène Delacroix"
    captions = [f"By {name}", unicodedata.normalize("NFD", name), "Delacroix, Eugène", "lemur"]
    own = replace(settings, data_dir=settings.data_dir.with_name(f"accents-{case}"))
    ingest(own, "a", *captions)

    answer = open_search(LanceStore(own.lance_dir)).find(query)

    assert {hit["row_index"] for hit in answer.hits} == expected
