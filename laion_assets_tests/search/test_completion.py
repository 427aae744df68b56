"""The beginning of a word, in rows that an index covers and in others."""

import pytest

from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores import fst
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import ingest, refresh

CAPTIONS = ("eine Straße", "strasse", "STRAND", "ein Straßenfest", "a strand of hair", "ＳＴＲ")
TOTALS = {"stra*": 5, "straß*": 2, "Strass*": 1, "strand*": 2, "s*": 5, "a*": 1, "x*": 0}


def count(search: CaptionSearch) -> dict[str, int]:
    return {query: search.find(query).total for query in TOTALS}


@pytest.mark.exhaustive
def test_the_beginning_of_a_word_is_found_before_a_release_after_it_and_between(
    settings: Settings,
) -> None:
    store = LanceStore(settings.lance_dir)
    ingest(settings, "alpha", *CAPTIONS)
    before = count(open_search(store, is_newest=True))
    refresh(settings)
    released = count(open_search(store))
    ingest(settings, "beta", *CAPTIONS)
    between = count(open_search(store, is_newest=True))
    ingest(settings, "alpha", "a lynx")
    replaced = count(open_search(store, is_newest=True))

    assert before == released == TOTALS
    assert between == {query: 2 * total for query, total in TOTALS.items()}
    assert replaced == TOTALS | {"a*": 2}


@pytest.mark.slow
def test_captions_are_read_where_the_words_of_an_index_cannot_be(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(settings, "alpha", *CAPTIONS)
    refresh(settings)
    monkeypatch.setattr(fst, "VERSION", fst.VERSION + 1)

    assert count(open_search(LanceStore(settings.lance_dir))) == TOTALS
