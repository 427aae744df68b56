"""Common words have the same answers, whether they were gathered or Lance is asked for them."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from laion_assets.releases.catalog import newest_release, open_released
from laion_assets.search.common_words import CommonWord
from laion_assets.search.filter import EVERYTHING, Bounds, SearchFilter
from laion_assets.search.order import ORDERS, Order
from laion_assets.search.query import read_query
from laion_assets.search.row_bits import contain, count, pack_places, rank, unpack
from laion_assets.search.search import CaptionSearch, SearchAnswer, open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import bring, refresh

pytestmark = pytest.mark.slow

ROWS = 900
SHARDS = ("alpha", "beta", "gamma")
LEAST = 300
# `fox` and `red` are common, `hare` is not; `ß` makes captions that Lance reads otherwise.
WORDS = (*("fox", "red") * 9, *("grey", "straße", "of") * 5, "hare")
FILTERS = {
    "everything": EVERYTHING,
    "safe": SearchFilter(hide_punsafe_above=0.5),
    "a range": SearchFilter(aesthetic=Bounds(4.5, 5.5), hide_punsafe_above=0.5),
    "a shard": SearchFilter(shard="beta"),
    "a site": SearchFilter(site="b.test", min_width=150, hide_punsafe_above=0.5),
    "a condition": SearchFilter(where="width > 2 * height"),
    "a label": SearchFilter(nsfw="UNSURE", hide_punsafe_above=0.5),
    "labels": SearchFilter(nsfw="UNLIKELY", license="?"),
    "no such label": SearchFilter(language="none"),
    "none": SearchFilter(domain="nobody.test"),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.default(tmp_path_factory.mktemp("common"))
    chance = random.Random(23)  # noqa: S311
    for shard in SHARDS:
        bring(settings, shard, make_rows(chance))
    # One of them twice, so that its rows are behind the others.
    bring(settings, SHARDS[0], make_rows(chance))
    refresh(settings)
    return settings


@pytest.fixture(scope="module")
def plain(settings: Settings) -> CaptionSearch:
    return open_captions(settings)


@pytest.fixture(scope="module")
def gathered(settings: Settings) -> CaptionSearch:
    search = open_captions(settings)
    search.gather_common_words(least=LEAST)
    return search


def open_captions(settings: Settings, hidden: list[int] | None = None) -> CaptionSearch:
    store = LanceStore(settings.lance_dir)
    manifest = newest_release(store)
    assert manifest
    return CaptionSearch(
        open_released(store, manifest, "images"),
        manifest.release,
        keeps_hits=True,
        hidden=None if hidden is None else np.array(hidden, np.uint64),
    )


def make_rows(chance: random.Random) -> pa.Table:
    return pa.table(
        {
            "caption": [
                " ".join(chance.choices(WORDS, k=chance.randint(1, 6))) for _ in range(ROWS)
            ],
            "url": [f"http://{chance.choice('ab')}.test/{n}.jpg" for n in range(ROWS)],
            "aesthetic": [chance.choice((None, 4.0, 5.0, 5.25, 6.0)) for _ in range(ROWS)],
            "width": [chance.choice((100, 200, 300, None)) for _ in range(ROWS)],
            "height": [chance.choice((100, 50, 300, None)) for _ in range(ROWS)],
            "nsfw": [chance.choice((None, "UNSURE", "UNLIKELY")) for _ in range(ROWS)],
            "license": [chance.choice((None, "?")) for _ in range(ROWS)],
            "punsafe": [chance.choice((None, 0.1, 0.9)) for _ in range(ROWS)],
        }
    )


def ask(search: CaptionSearch, query: str, *arguments: object, **named: object) -> SearchAnswer:
    return replace(search.find(query, *arguments, **named), took_ms=0)  # type: ignore[arg-type]


def test_words_of_many_captions_are_gathered_and_no_others(
    plain: CaptionSearch, gathered: CaptionSearch
) -> None:
    common = {word for word in WORDS if plain.find(word).total >= LEAST}

    assert set(gathered._common._words) == common
    assert "fox" in common
    assert "hare" not in common


@pytest.mark.parametrize("only", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize(
    "query",
    ["fox", "FOX site:a.test", "straße", "-", "red fox", "straße of", "fox red of", "fox -red"],
)
def test_answers_are_those_of_lance(
    plain: CaptionSearch, gathered: CaptionSearch, query: str, only: SearchFilter
) -> None:
    for order in map(Order.read, ORDERS):
        for limit, offset in ((20, 0), (7, 300), (20, 100_000), (0, 0)):
            named = {"only": only, "order": order, "limit": limit, "offset": offset}
            assert ask(gathered, query, **named) == ask(plain, query, **named)
    folded = {"only": only, "is_folded": True}
    assert ask(gathered, query, **folded) == ask(plain, query, **folded)


@pytest.mark.parametrize("only", FILTERS.values(), ids=FILTERS)
def test_facets_and_exports_are_those_of_lance(
    plain: CaptionSearch, gathered: CaptionSearch, only: SearchFilter
) -> None:
    for query in ("fox", "red site:b.test", "grey of"):
        assert gathered.count_facets(query, only) == plain.count_facets(query, only)
        for order in map(Order.read, ("relevance", "area_asc")):
            rows = list(gathered.export(query, only, order))
            assert rows == list(plain.export(query, only, order))


@pytest.mark.exhaustive
def test_labels_are_compared_as_lance_does(
    settings: Settings, plain: CaptionSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [ask(plain, "fox", only=only) for only in FILTERS.values()]
    listed = [replace(plain.browse(only), took_ms=0) for only in FILTERS.values()]
    # A table that is too large for its columns to be kept.
    monkeypatch.setattr("laion_assets.search.row_values.MAX_KEPT_ROWS", 1)
    large = open_search(LanceStore(settings.lance_dir))

    assert [ask(large, "fox", only=only) for only in FILTERS.values()] == answers
    assert [replace(large.browse(only), took_ms=0) for only in FILTERS.values()] == listed
    assert sum(answer.total > 0 for answer in answers) > 5


@pytest.mark.exhaustive
def test_the_first_rows_of_an_order_are_not_enough_for_all(
    settings: Settings, plain: CaptionSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("laion_assets.search.common_words.FIRST_ROWS", 50)
    search = open_captions(settings)
    search.gather_common_words(least=LEAST)
    for order in map(Order.read, ORDERS):
        for only in FILTERS.values():
            named = {"only": only, "order": order, "limit": 30}
            assert ask(search, "fox", **named) == ask(plain, "fox", **named)


def test_rows_on_the_list_of_removals_are_in_none(settings: Settings, plain: CaptionSearch) -> None:
    hidden = plain.match("fox").rows[::3].tolist()
    search = open_captions(settings, hidden)
    search.gather_common_words(least=LEAST)

    assert ask(search, "fox") == ask(open_captions(settings, hidden), "fox")
    assert search.find("fox").total == plain.find("fox").total - len(hidden)


def test_nothing_is_gathered_where_nobody_waits_or_no_word_is_common(settings: Settings) -> None:
    search = open_captions(settings)
    search.gather_common_words(lambda: False, least=LEAST)
    search.gather_common_words()

    assert not search._common._words


def test_a_common_word_is_kept_when_somebody_asks_for_it(
    settings: Settings, plain: CaptionSearch, gathered: CaptionSearch
) -> None:
    search = open_captions(settings)
    for query in ("hare", "fox red", "fox -red", "fox OR red", '"red fox"', "fo*"):
        search._common.learn(read_query(query), LEAST)
    assert not search._common._words

    search._common.learn(read_query("fox site:a.test"), LEAST)
    assert set(search._common._words) == {"fox"}
    assert ask(search, "fox") == ask(plain, "fox")

    search.gather_common_words(least=LEAST)
    assert set(search._common._words) == set(gathered._common._words)
    assert search._common._kept_bytes == gathered._common._kept_bytes


def test_gathering_lets_visitors_go_first(settings: Settings, gathered: CaptionSearch) -> None:
    search = open_captions(settings)
    looks = itertools.count()
    search.gather_common_words(least=LEAST, is_busy=lambda: next(looks) >= 0)

    # It looks before each word and order, and goes on although they wait.
    assert next(looks) > len(gathered._common._words) + 3
    assert set(search._common._words) == set(gathered._common._words)


def test_bits_are_the_places() -> None:
    chance = np.random.default_rng(5)
    for row_count in (1, 63, 64, 65, 1000):
        places = np.flatnonzero(chance.random(row_count) < 0.4)
        bits = pack_places(chance.permutation(places), row_count)

        assert unpack(bits).tolist() == places.tolist()
        assert count(bits) == len(places)
        every = np.arange(row_count)
        assert every[contain(bits, every)].tolist() == places.tolist()
        assert rank(bits, places[::-1]).tolist() == list(range(len(places)))[::-1]


def test_a_common_word_keeps_each_score() -> None:
    chance = np.random.default_rng(6)
    for different in (1, 5, 300):
        places = np.flatnonzero(chance.random(5_000) < 0.5)
        scores = chance.choice(chance.random(different), len(places)).astype(np.float32)
        word = CommonWord.keep(places, scores, 5_000)

        assert word.read_scores(places).tolist() == scores.tolist()
        order = np.argsort(-scores, kind="stable")
        assert word.first.tolist() == places[order].tolist()
