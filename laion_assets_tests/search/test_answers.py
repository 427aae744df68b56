"""Random searches, compared with SQL over DuckDB: fifty of one shard, or a thousand of seven."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from laion_assets.demo.sample_shards import SampleSpec, write_sample_shards
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets.web.params import SearchQuery
from laion_assets_tests.pipeline import copy, load, refresh
from laion_assets_tests.search.answers import Question, Reference, compare, open_reference
from laion_assets_tests.web.site import Site, run_site

pytestmark = pytest.mark.slow

QUESTIONS = 1_000
PARTS = 20
# More rows are exported for some questions alone, which have their CSV over HTTP.
MOST_EXPORTED = 300
FILES = 12
# Of shards with 20,000 rows each: the second is the demo's.
FEW, ALL = 1, 7
# Of fewer captions in a shard the words are not common, so both ways of answering are compared.
LEAST_COMMON = 1_400
NAMES = ("Ada Lovelace", "Frida Kahlo")


@dataclass(frozen=True)
class Released:
    """A release of the sample shards, in all its forms."""

    shelf: Shelf
    site: Site
    reference: Reference


@pytest.fixture(scope="module")
def released(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Released]:
    """Of so many shards as the test asks for."""
    shards: int = request.param
    settings = Settings.default(tmp_path_factory.mktemp("answers"))
    for path in write_sample_shards(settings.data_dir / "shards", NAMES, SampleSpec(shards)):
        load(settings, path.stem, path)
        copy(settings, path.stem)
    refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    shelf.current.search.gather_common_words(least=LEAST_COMMON * shards)
    with open_reference(settings) as reference, run_site(build_app(shelf)) as site:
        yield Released(shelf, site, reference)


@pytest.mark.parametrize(
    ("released", "part"),
    [
        (FEW, 0),
        *(pytest.param(ALL, part, marks=pytest.mark.exhaustive) for part in range(PARTS)),
    ],
    indirect=["released"],
)
def test_searches_are_what_sql_says(released: Released, part: int) -> None:
    search, reference = released.shelf.current.search, released.reference
    wrong = [
        difference
        for seed in range(part, QUESTIONS, PARTS)
        for difference in compare(search, reference, reference.ask(seed), MOST_EXPORTED)
    ]

    assert wrong == []


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("released", "least_rows"),
    [(FEW, 1_000), pytest.param(ALL, 5_000, marks=pytest.mark.exhaustive)],
    indirect=["released"],
)
def test_files_are_what_sql_says(released: Released, least_rows: int) -> None:
    reference = released.reference
    row_count = 0
    # One caption in six has the commonest word, so that one file is long.
    long = Question(SearchQuery.model_validate({"q": "the", "max_punsafe": 1}), "the", "TRUE")
    for question in [*map(reference.ask, range(QUESTIONS, QUESTIONS + FILES)), long]:
        expected = reference.name(reference.answer(question).places.tolist())
        text = released.site.get(question.query.write("/search.csv")).content.decode("utf-8-sig")
        rows = [(r["shard"], int(r["row_index"])) for r in csv.DictReader(io.StringIO(text))]
        if question.query.order.by == "relevance":
            rows, expected = sorted(rows), sorted(expected)
        assert rows == expected, question
        row_count += len(rows)

    assert row_count > least_rows
