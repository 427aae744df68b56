"""Searches as the search page makes them: page by page, and through a domain without a word."""

import ast
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from laion_assets.search.filter import SearchFilter
from laion_assets.search.search import open_search
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets_tests.pipeline import copy, ingest, load, refresh
from laion_assets_tests.raises import raises

pytestmark = pytest.mark.slow


@pytest.mark.exhaustive
def test_pages_follow_one_another(settings: Settings) -> None:
    ingest(settings, "alpha", *(f"fox {'and fox ' * n}" for n in range(25)))
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))
    every = search.find("fox", limit=25).hits

    pages = [search.find("fox", limit=10, offset=start) for start in (0, 10, 20, 30)]

    assert [len(page.hits) for page in pages] == [10, 10, 5, 0]
    assert tuple(hit for page in pages for hit in page.hits) == every
    assert {page.total for page in pages} == {25}


TIED_SEARCHES = """
import sys
from pathlib import Path
from laion_assets.search.search import open_search
from laion_assets.stores.lance_store import LanceStore
search = open_search(LanceStore(Path(sys.argv[1])))
for _ in range(30):
    rows = [(h["shard"], h["row_index"]) for p in (0, 20, 40)
            for h in search.find("fox", limit=20, offset=p).hits]
    print(rows)
"""


def test_equal_hits_have_one_order_however_many_threads_search(settings: Settings) -> None:
    for shard in ("alpha", "beta"):
        ingest(settings, shard, *(["a fox", "a wolf", "a fox in a wood"] * 200))
        refresh(settings)

    # Lance takes the number of its threads from here, once in a process.
    environment = {**os.environ, "LANCE_CPU_THREADS": "2"}
    command = [sys.executable, "-c", TIED_SEARCHES, str(settings.lance_dir)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    (rows,) = {*found.stdout.splitlines()}
    assert len({*ast.literal_eval(rows)}) == 60


@pytest.mark.exhaustive
def test_a_domain_is_browsed_without_a_word(settings: Settings) -> None:
    ingest(settings, "alpha", "a fox", "a hare")
    ingest(settings, "beta", "a wolf", "a bear", "a lynx")
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))

    answer = search.browse(SearchFilter(domain="BETA.test"), limit=2, offset=1)
    few = search.browse(SearchFilter(shard="beta", min_width=1))

    assert answer.total == 3
    assert [hit["caption"] for hit in answer.hits] == ["a bear", "a lynx"]
    assert [hit["caption"] for hit in few.hits] == ["a bear", "a lynx"]
    assert few.total == 2
    assert search.browse(SearchFilter(min_width=1)).total == 3


@pytest.mark.exhaustive
def test_what_is_not_known_to_be_unsafe_is_not_hidden(settings: Settings) -> None:
    ingest(settings, "alpha", "a fox")
    source = settings.data_dir / "shards" / "beta.parquet"
    pq.write_table(pa.table({"url": ["https://b.test/1"], "caption": ["a fox"]}), source)
    load(settings, "beta", source)
    copy(settings, "beta")
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))

    def shards(only: SearchFilter) -> set[str]:
        return {hit["shard"] for hit in search.find("fox", only=only).hits}

    assert shards(SearchFilter(hide_punsafe_above=0.4)) == {"beta"}
    assert shards(SearchFilter(hide_punsafe_above=0.5)) == {"alpha", "beta"}
    assert shards(SearchFilter(max_punsafe=0.5)) == {"alpha"}


@pytest.mark.exhaustive
def test_an_image_is_read_by_its_place(settings: Settings) -> None:
    ingest(settings, "it's", "a fox", "a hare")
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))

    image = search.read_image("it's", 1)

    assert image
    assert (image["caption"], image["row_index"]) == ("a hare", 1)
    assert search.read_image("it's", 2) is None
    assert search.read_image("other", 1) is None


@pytest.mark.exhaustive
@pytest.mark.parametrize("minimum", [10, 35])
def test_pages_of_what_is_in_a_range_are_of_one_answer(settings: Settings, minimum: int) -> None:
    ingest(settings, "alpha", *(f"fox {'and fox ' * (n % 7)}" for n in range(40)))
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))
    only = SearchFilter(min_width=minimum)

    def read(offset: int, limit: int) -> tuple[int, list[int]]:
        answer = search.find("fox", only=only, offset=offset, limit=limit)
        return answer.total, [hit["row_index"] for hit in answer.hits]

    total, every = read(0, 40)
    pages = [read(start, 3) for start in range(0, 40, 3)]

    assert {found for found, _ in pages} == {total}
    assert [row for _, rows in pages for row in rows] == every
    assert min(every) >= minimum


@pytest.mark.exhaustive
def test_a_query_may_not_cost_more_than_a_caption_can_be_worth(settings: Settings) -> None:
    ingest(settings, "alpha", "fox fox")
    refresh(settings)
    search = open_search(LanceStore(settings.lance_dir))

    assert search.find('"fox" ' * 200).total == 1
    for query in ("fox " + " ".join(map(str, range(64))), f'"{"fox " * 65}"'):
        with raises("query-of-too-many-words"):
            search.find(query)
