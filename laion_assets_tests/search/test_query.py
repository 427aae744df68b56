"""What a query asks for, and what is said of the rest of it."""

import pytest

from laion_assets.search import completion
from laion_assets.search.query import Query, Term, read_query
from laion_assets.search.search import open_search
from laion_assets.search.sites import Place
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import ingest, refresh
from laion_assets_tests.raises import raises

FOX, HARE, LYNX = map(Term, ("fox", "hare", "lynx"))
QUERIES = {
    "words": ("Red FOX red", Query(phrases=("red", "fox"))),
    "a phrase": ('"a fox" hare', Query(phrases=("a fox", "hare"))),
    "a minus": ("fox -hare", Query(phrases=("fox",), excluded=(HARE,))),
    "a minus before a phrase": ('fox -"a hare"', Query(("fox",), excluded=(Term("a hare"),))),
    "a minus within": ("fox-hare", Query(phrases=("fox hare",))),
    "or": ("fox OR hare lynx", Query(("lynx",), groups=((FOX, HARE),))),
    "or twice": ("fox OR hare OR lynx", Query(groups=((FOX, HARE, LYNX),))),
    "or in lower case": ("fox or", Query(phrases=("fox", "or"))),
    "the beginning of a word": ("FO*", Query(groups=((Term("fo", is_prefix=True),),))),
    "a site": ("fox site:Pin.test", Query(("fox",), sites=(Place("pin.test"),))),
    "pasted sites": (
        "site:https://a.test:8/x?y site:*.b.test OR site:c.test.",
        Query(sites=(Place("a.test"), Place("b.test", is_wild=True), Place("c.test"))),
    ),
    "no site": ("fox -site:a.test", Query(("fox",), excluded_sites=(Place("a.test"),))),
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_query_is_read_as_people_write_it(case: str) -> None:
    text, expected = QUERIES[case]
    assert read_query(text) == expected


NOTES = {
    "fox NOT hare": "NOT was searched as a word; -word leaves a word out.",
    "fox AND hare": "AND was searched as a word; all words are needed.",
    "(fox": "Parentheses have no meaning and were ignored.",
    "intitle:fox": "intitle: has no meaning here; intitle:fox was searched as words.",
    "*fox": "* has a meaning only at the end of a word; in *fox it has none.",
    "can-ca*": "* has a meaning only at the end of a word; in can-ca* it has none.",
    "fox !!!": "!!! has no letter or digit, so it was ignored.",
    'fox "': "A quotation mark without a second one was ignored.",
    "fox OR": "OR joins two words or phrases; here it was ignored.",
    "OR fox": "OR joins two words or phrases; here it was ignored.",
    "fox OR -hare": "OR joins two words or phrases; here it was ignored.",
    "fox OR site:a.test": "OR joins two words or phrases; here it was ignored.",
    "fox site:": "site: needs a host right behind it, such as site:example.org.",
    "site:[ fox": "site: needs a host right behind it, such as site:example.org.",
}


@pytest.mark.parametrize("text", NOTES)
def test_what_is_not_understood_is_said(text: str) -> None:
    assert read_query(text).notes == (NOTES[text],)


@pytest.mark.exhaustive
def test_a_search_by_site_alone_and_without_a_word(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(settings, "alpha", "a fox", "a foxglove", "a hare")
    ingest(settings, "beta", "a fox")
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))

    assert search.find("site:alpha.test").total == 3
    assert search.find("site:alpha.test -fox").total == 2
    assert search.find("-site:alpha.test a").total == 1
    assert search.find("site:*.test").total == 4
    assert search.find("site:test").total == 0
    assert search.find("site:pha.test").total == 0
    assert search.find("site:it's").total == 0
    with raises("query-only-excludes"):
        search.find("-fox")
    monkeypatch.setattr(completion, "MAX_COMPLETIONS", 1)
    assert search.find("foxg*").total == 1
    with raises("query-beginning-too-short"):
        search.find("fox*")
