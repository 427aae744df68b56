"""Declared columns are facets: each number is that of the search that its condition leads to."""

import numpy as np
import pyarrow as pa
import pytest

from laion_assets.curation.curation_file import read_curation
from laion_assets.declared_columns.add_declared import add_declared
from laion_assets.search.facets import MAX_VALUES, Facet, Facets
from laion_assets.search.filter import EVERYTHING, SearchFilter
from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets_tests.pipeline import bring, refresh

pytestmark = pytest.mark.slow


ROWS = 400
COLUMNS = {
    "ratio": "CAST(width AS DOUBLE) / height",
    "narrow": "CAST(width AS FLOAT) / 10",
    "area": "CAST(width AS BIGINT) * height",
    "size": "width // 300",
    "odd": "CASE WHEN width % 3 = 0 THEN width % 2 = 1 END",
    "word": "CASE WHEN width % 5 = 0 THEN NULL ELSE left(caption, width % 4) END",
    "quoted": "CASE WHEN width % 2 = 0 THEN 'it''s \" a\\ %' ELSE '' END",
    "each": "url",
    "large": "CAST(image_id AS BIGINT)",
    "day": "DATE '2020-01-01' + width",
    "nothing": "CAST(NULL AS DOUBLE)",
    "far": "CASE WHEN width > 996 THEN 1e300 ELSE width END",
}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> CaptionSearch:
    settings = Settings.default(tmp_path_factory.mktemp("facets"))
    text = "\n".join(f"[columns.{name}]\nsql = '''{sql}'''" for name, sql in COLUMNS.items())
    settings.curation_file.write_text(text, encoding="utf-8")
    curation = read_curation(settings.curation_file)
    chance = np.random.default_rng(4)
    for shard in ("a", "b"):
        words = chance.choice(["fox", "lemur", "tree", "red", "house"], (ROWS, 3))
        rows = {
            "url": [f"https://{shard}.test/{row}.jpg" for row in range(ROWS)],
            "caption": [" ".join(row) for row in words],
            "width": pa.array(chance.integers(1, 1000, ROWS), pa.int32()),
            "height": pa.array(chance.integers(0, 900, ROWS), pa.int32()),
        }
        bring(settings, shard, pa.table(rows))
    stores = Database(settings.database), LanceStore(settings.lance_dir)
    # The other shard has none of them.
    add_declared(*stores, curation, "a", "run", RawStore(settings.raw_dir))
    refresh(settings)
    return open_search(LanceStore(settings.lance_dir))


def count(search: CaptionSearch, query: str | None, only: SearchFilter = EVERYTHING) -> Facets:
    found = search.count_facets(query, only)
    assert found is not None
    return found


def list_own(found: Facets) -> dict[str, Facet]:
    return {facet.name: facet for facet in found.facets if facet.is_own}


@pytest.mark.exhaustive
@pytest.mark.parametrize("query", [None, "fox", "lemur OR tree"])
def test_each_count_is_that_of_the_search_it_leads_to(
    search: CaptionSearch, query: str | None
) -> None:
    found = count(search, query)
    own = list_own(found)
    assert own.keys() == COLUMNS.keys() - {"large", "day", "nothing"}
    for name, facet in own.items():
        told = sum(value.image_count for value in facet.values)
        assert told + facet.other_count + facet.missing_count == found.counted, name
        assert len({value.value for value in facet.values}) == len(facet.values)
        for value in facet.values:
            only = SearchFilter(where=value.condition)
            shown = len(search.match(query, only).rows)
            assert shown == value.image_count, (name, value)


def test_numbers_are_ranges_and_few_of_them_and_texts_are_values(search: CaptionSearch) -> None:
    own = list_own(count(search, None))
    assert {name for name, facet in own.items() if facet.is_range} == {
        *("ratio", "narrow", "area", "far")
    }
    assert [value.value for value in own["size"].values] == ["0", "1", "2", "3"]
    assert {value.value for value in own["odd"].values} == {"true", "false"}
    assert [value.value for value in own["narrow"].values] == [
        *("..10", "10..20", "20..30", "30..40", "40..50", "50..60", "60..70", "70..80"),
        *("80..90", "90.."),
    ]
    assert all(len(facet.values) <= MAX_VALUES or facet.is_range for facet in own.values())
    assert own["ratio"].missing_count > ROWS


def test_the_ranges_are_the_same_for_every_search(search: CaptionSearch) -> None:
    ranges = [
        [value.value for value in list_own(count(search, query))["ratio"].values]
        for query in (None, "fox", "tree")
    ]
    assert ranges[0] == ranges[1] == ranges[2]
