"""Hints at searches that differ in a few letters."""

import pytest

from laion_assets.search import near_misses
from laion_assets.search.filter import EVERYTHING, SearchFilter
from laion_assets.search.near_misses import (
    LETTERS,
    NearMiss,
    find_near_misses,
    vary_letters,
    vary_number,
    vary_sharp_s,
)
from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.pipeline import ingest, refresh

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> CaptionSearch:
    """A release of two shards."""
    settings = make_settings(tmp_path_factory.mktemp("released"))
    captions = ["two cats", *["a cat"] * 27, *["a red dress"] * 5, "red dresses", "a lemur"]
    ingest(settings, "alpha", *captions, *["smørrebrød on a plate"] * 3, *["straße"] * 2)
    ingest(settings, "beta", *["a red cat"] * 30, *["a giraffe"] * 25, *["a girafe"] * 2)
    refresh(settings)
    return open_search(LanceStore(settings.lance_dir))


def hint(search: CaptionSearch, query: str, only: SearchFilter = EVERYTHING) -> list[NearMiss]:
    found = search.find(query, only=only, limit=0).total
    misses = list(find_near_misses(search, query, only, found))
    for miss in misses:
        assert search.find(miss.query, only=only).total == miss.image_count > found
    return misses


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("cats", [NearMiss("cat", 57)]),
        ("dresses", [NearMiss("dress", 5)]),
        ("red dresses", [NearMiss("red dress", 5)]),
        ("girafe", [NearMiss("giraffe", 25)]),
        ("girfafe", [NearMiss("giraffe", 25), NearMiss("girafe", 2)]),
        ("smorrebrød", [NearMiss("smørrebrød", 3)]),
        ("strasse", [NearMiss("straße", 2)]),
        ('"a red" cats', [NearMiss('"a red" cat', 30)]),
    ],
)
def test_a_similar_search_that_finds_more_is_told(
    search: CaptionSearch, query: str, expected: list[NearMiss]
) -> None:
    assert hint(search, query) == expected


def test_a_word_of_many_captions_is_no_slip_of_the_pen(
    search: CaptionSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_misses, "USUAL_CAPTIONS", 2)
    assert hint(search, "girafe") == []
    assert hint(search, "girfafe") == [NearMiss("giraffe", 25), NearMiss("girafe", 2)]
    assert hint(search, "cats") == [NearMiss("cat", 57)]


@pytest.mark.parametrize("word", ["girafe", "smorrebrød", "strase", "dres", "cats", "plates"])
def test_words_that_captions_have_are_found_without_trying_each(
    search: CaptionSearch, word: str
) -> None:
    near = search.find_near(word, LETTERS)
    assert near is not None
    tried = {similar for similar in vary_letters(word) if search.count_word(similar)}
    assert (near | {w for w in vary_sharp_s(word) if search.count_word(w)}) - {word} == tried


@pytest.mark.parametrize(
    "query", ["cat", "lemur", "", "nothinglikeit", "cats -two", "cats OR lemur", "cat*", '"a cats"']
)
def test_others_get_no_hint(search: CaptionSearch, query: str) -> None:
    found = search.find(query, limit=0).total
    assert find_near_misses(search, query, EVERYTHING, found) == ()


def test_the_number_is_that_with_the_same_filter(search: CaptionSearch) -> None:
    assert hint(search, "cats", SearchFilter(shard="alpha")) == [NearMiss("cat", 27)]
    assert hint(search, "cats", SearchFilter(min_width=10**6)) == []


@pytest.mark.exhaustive
def test_rows_that_no_index_covers_have_words_too(settings: Settings) -> None:
    ingest(settings, "alpha", "a fox")
    refresh(settings)
    ingest(settings, "beta", "a giraffe", "a giraffe")
    search = open_search(LanceStore(settings.lance_dir), is_newest=True)

    assert hint(search, "girafe") == [NearMiss("giraffe", 2)]


def test_forms_of_a_word() -> None:
    assert "ladies" in vary_number("lady")
    assert "lady" in vary_number("ladies")
    assert {"bus", "buss"} & set(vary_number("buses"))
    assert list(vary_letters("cat")) == []
    assert "word" not in set(vary_letters("word"))
    assert {"wrod", "wor", "words", "ward"} <= set(vary_letters("word"))
