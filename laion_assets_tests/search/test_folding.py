"""Folded repeats, compared with plain Python over the same rows."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from laion_assets.search import folding, search
from laion_assets.search.filter import EVERYTHING, SearchFilter
from laion_assets.search.folding import find_groups
from laion_assets.search.order import ORDERS, Order
from laion_assets.search.search import CaptionSearch, SearchAnswer, open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import bring, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow

ROWS = 400
SHARDS = ("alpha", "beta")
SAFE = SearchFilter(hide_punsafe_above=0.5)
EVERY = 2 * ROWS


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings.default(tmp_path_factory.mktemp("folding"))
    chance = random.Random(17)  # noqa: S311
    for shard in SHARDS:
        bring(settings, shard, make_rows(chance))
    refresh(settings)
    return settings


@pytest.fixture(scope="module", params=[True, False])
def captions(settings: Settings, request: pytest.FixtureRequest) -> CaptionSearch:
    opened = open_search(LanceStore(settings.lance_dir))
    return CaptionSearch(opened._dataset, opened._release, keeps_hits=request.param)


def make_rows(chance: random.Random) -> pa.Table:
    """Captions and URLs that repeat, alone and together, also but for case and a blank."""
    captions = [f"a fox number {n}" for n in range(250)]
    captions += ["A fox number 1", "a fox number 1 ", "a red fox", "a red fox", "!!! fox ???"]
    return pa.table(
        {
            "caption": [chance.choice(captions) for _ in range(ROWS)],
            "url": [f"http://a.test/{chance.randrange(4_000)}.jpg" for _ in range(ROWS)],
            "aesthetic": [chance.choice((None, 4.0, 5.0, 6.0)) for _ in range(ROWS)],
            "width": [chance.choice((100, 200, None)) for _ in range(ROWS)],
            "punsafe": [chance.choice((None, 0.1, 0.9)) for _ in range(ROWS)],
        }
    )


def find_place(hit: Mapping[str, Any]) -> str:
    return f"{hit['shard']}/{hit['row_index']}"


def group_plainly(hits: Sequence[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """The images that each image repeats, found by walking from one to the next."""
    by_text: dict[str, set[str]] = {}
    for hit in hits:
        for text in (hit["url"], hit["caption"]):
            by_text.setdefault(text, set()).add(find_place(hit))
    texts = {find_place(hit): (hit["url"], hit["caption"]) for hit in hits}
    groups = {}
    for place in texts:
        reached, ahead = {place}, {place}
        while ahead:
            ahead = {other for one in ahead for text in texts[one] for other in by_text[text]}
            ahead -= reached
            reached |= ahead
        groups[place] = frozenset(reached)
    return groups


def fold_plainly(
    captions: CaptionSearch, query: str, only: SearchFilter, order: Order
) -> list[tuple[str, int]]:
    """The first image of each group in this order, and how many others that are shown it has."""
    everything = SearchFilter(**{**vars(only), "hide_punsafe_above": None})
    matching = captions.find(query, only=everything, limit=EVERY).hits
    shown = captions.find(query, only=only, limit=EVERY, order=order).hits
    groups = group_plainly(matching)
    places = list(map(find_place, shown))
    folded: dict[frozenset[str], tuple[str, int]] = {}
    for place in places:
        more = len(groups[place].intersection(places)) - 1
        folded.setdefault(groups[place], (place, more))
    return list(folded.values())


def read_folded(answer: SearchAnswer) -> list[tuple[str, int]]:
    return [(find_place(hit), hit["more"]) for hit in answer.hits]


@pytest.mark.parametrize("only", [EVERYTHING, SAFE, SearchFilter(min_width=150)])
@pytest.mark.parametrize("order", ORDERS)
def test_the_first_of_each_group_is_kept_in_every_order(
    captions: CaptionSearch, order: str, only: SearchFilter
) -> None:
    asked = Order.read(order)
    expected = fold_plainly(captions, "fox", only, asked)

    answer = captions.find("fox", only=only, order=asked, limit=EVERY, is_folded=True)

    assert read_folded(answer) == expected
    assert answer.different == len(expected) < answer.shown
    assert sum(1 + more for _, more in expected) == answer.shown
    unfolded = captions.find("fox", only=only, order=asked)
    assert (answer.total, answer.hidden) == (unfolded.total, unfolded.hidden)


def test_the_number_of_different_images_does_not_depend_on_the_order(
    captions: CaptionSearch,
) -> None:
    answers = [
        captions.find("fox", only=SAFE, order=Order.read(order), is_folded=True) for order in ORDERS
    ]

    assert len({answer.different for answer in answers}) == 1


def test_deep_pages_follow_one_another(captions: CaptionSearch) -> None:
    order = Order("aesthetic")
    every = captions.find("fox", order=order, limit=EVERY, is_folded=True)
    assert every.different is not None

    pages = [
        captions.find("fox", order=order, limit=20, offset=start, is_folded=True).hits
        for start in range(0, every.different + 20, 20)
    ]

    assert every.different > 100
    assert tuple(hit for page in pages for hit in page) == every.hits
    assert pages[-1] == ()


def test_what_is_browsed_is_folded_too(captions: CaptionSearch) -> None:
    only = SearchFilter(shard="beta")
    groups = group_plainly(captions.browse(only, limit=EVERY).hits)

    answer = captions.browse(only, limit=EVERY, is_folded=True)

    assert answer.different == len(answer.hits) == len({*groups.values()})
    assert answer.total == ROWS


@pytest.mark.exhaustive
@pytest.mark.parametrize("only", [EVERYTHING, SAFE])
def test_an_image_leads_to_those_that_it_stands_for(
    captions: CaptionSearch, only: SearchFilter
) -> None:
    answer = captions.find("fox", only=only, limit=EVERY, is_folded=True)

    for hit in answer.hits[::7]:
        alike = SearchFilter(**{**vars(only), "alike": find_place(hit)})
        found = captions.find("fox", only=alike, limit=EVERY)
        assert found.shown == hit["more"] + 1
        assert find_place(hit) in map(find_place, found.hits)
        assert len([*captions.export("fox", alike)]) == found.shown


def test_what_repeats_an_image_may_be_found_where_the_image_is_not(
    captions: CaptionSearch,
) -> None:
    every = captions.find("fox", limit=EVERY).hits
    names = {hit["caption"] for hit in every if hit["shard"] == "beta"}
    image = next(h for h in every if h["shard"] == "alpha" and h["caption"] in names)

    found = captions.find("fox", only=SearchFilter(shard="beta", alike=find_place(image)))

    assert found.total
    assert image["caption"] in {hit["caption"] for hit in found.hits}
    assert {hit["shard"] for hit in found.hits} == {"beta"}


def test_nothing_is_folded_to_nothing(captions: CaptionSearch) -> None:
    answer = captions.find("nosuchword", is_folded=True)
    alike = captions.find("nosuchword", only=SearchFilter(alike="alpha/0"))

    assert (answer.total, answer.different, answer.hits) == (0, 0, ())
    assert (alike.total, alike.hits) == (0, ())


def test_what_is_not_folded_says_nothing_of_it(captions: CaptionSearch) -> None:
    answer = captions.find("fox")

    assert answer.different is None
    assert not any("more" in hit for hit in answer.hits)


def test_too_many_matches_are_not_folded_and_a_note_says_so(
    captions: CaptionSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (folding, search):
        monkeypatch.setattr(module, "MAX_FOLDED", 100)

    answer = captions.find("fox", limit=50, is_folded=True)

    assert answer.different is None
    assert answer.hits == captions.find("fox", limit=50).hits
    assert answer.notes == (folding.TOO_MANY,)
    assert captions.find('"fox number 1"', is_folded=True).different is not None
    with raises("search-alike-too-many"):
        captions.find("fox", only=SearchFilter(alike="alpha/0"))


@pytest.mark.parametrize(
    "place", ["alpha", "alpha/", "/0", "alpha/-1", "alpha/x", "alpha/400", "gamma/0", "al'pha/0"]
)
def test_an_image_that_is_not_there_is_refused(captions: CaptionSearch, place: str) -> None:
    with raises("search-alike-unknown"):
        captions.find("fox", only=SearchFilter(alike=place))


def test_single_rows_that_are_deleted_are_left_out(settings: Settings) -> None:
    """Without all rows of a fragment, positions cannot be taken."""
    opened = open_search(LanceStore(settings.lance_dir))
    whole = opened.find("fox", limit=EVERY).hits
    dataset = opened._dataset
    latest = type(dataset)(dataset.uri)
    latest.delete("shard = 'alpha' AND row_index % 3 = 0")
    captions = CaptionSearch(latest, None)
    left = [hit for hit in whole if hit["shard"] != "alpha" or hit["row_index"] % 3]

    answer = captions.find("fox", limit=EVERY, is_folded=True)

    assert answer.different == len({*group_plainly(left).values()})
    assert read_folded(answer) == fold_plainly(captions, "fox", EVERYTHING, Order())


def test_a_chain_of_repeats_is_one_group() -> None:
    length = 30_000
    urls = [f"u{n // 2}" for n in range(length)]
    captions = [f"c{(n + 1) // 2}" for n in range(length)]
    order = random.Random(5).sample(range(length), length)  # noqa: S311
    texts = pa.table({"url": urls, "caption": captions}).take(order)

    groups = find_groups(texts)

    assert len({*groups.tolist()}) == 1


def test_equal_texts_in_other_chunks_are_equal() -> None:
    parts = [pa.table({"url": [f"u{n}", "v"], "caption": ["c", f"d{n}"]}) for n in (1, 2)]

    groups = find_groups(pa.concat_tables(parts)).tolist()

    assert groups[0] == groups[2] != groups[1] == groups[3]
