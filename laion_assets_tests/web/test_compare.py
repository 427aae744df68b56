"""Several searches beside each other, and from release to release."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.web.conftest import ingest, make_settings
from laion_assets_tests.web.site import Site, run_site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site of six releases: one fox in the first, one more in each that follows."""
    settings = make_settings(Path(tmp_path_factory.mktemp("compare")) / "laion")
    for number in range(6):
        rows = [("a fox", f"https://fox.test/{number}.jpg", 0.9 * (number == 5), 5.0)]
        ingest(settings, f"shard{number}", [*rows, ("a hare", "https://hare.test/1.jpg", 0.0, 5.0)])
        refresh(settings, f"r{number}")
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        yield site


def count(site: Site, address: str) -> dict[str, list[int]]:
    searches = site.get(address).json()["searches"]
    return {s["query"]: [c["image_count"] for c in s["counts"]] for s in searches}


def test_each_search_has_the_number_of_its_own_page(site: Site) -> None:
    filters = "&min_width=120&max_punsafe=1"
    words = ["fox", '"Ana Fox"', "fox -number", "lemur OR bird", "nosuchword"]
    query = "&".join(f"q={word.replace(' ', '+')}" for word in words)

    found = site.get(f"/compare.json?{query}{filters}").json()

    assert [search["query"] for search in found["searches"]] == words
    for search in found["searches"]:
        alone = site.get(search["address"].replace("?", ".json?")).json()
        (counted,) = search["counts"]
        assert counted["image_count"] == alone["total"]
        assert (counted["hidden_count"], counted["shown_count"]) == (0, alone["shown"])
    assert found["searches"][0]["counts"][0]["image_count"] == 70


@pytest.mark.exhaustive
def test_the_page_shows_the_numbers_and_leads_to_the_searches(site: Site) -> None:
    html = site.get("/compare?q=fox&q=lemur").text

    assert "<h1>Compare 2 searches</h1>" in html
    assert '<a href="/search?q=fox" dir="auto">fox</a>' in html
    assert "<td>90</td>" in html
    assert "1 hidden as unsafe" in html
    assert 'href="/compare?q=fox"' in site.get("/search?q=fox").text


@pytest.mark.exhaustive
def test_releases_are_compared_up_to_the_one_that_is_shown(grown: Site) -> None:
    assert count(grown, "/compare.json?q=fox&q=hare") == {"fox": [6], "hare": [6]}
    assert count(grown, "/compare.json?q=fox&history=1") == {"fox": [6, 5, 4, 3]}
    assert count(grown, "/compare.json?q=fox&history=1&release=r1") == {"fox": [2, 1]}
    html = grown.get("/compare?q=fox&history=true").text
    assert [html.index(f">{tag}<br>") for tag in ("r2", "r3", "r4", "r5")] == sorted(
        html.index(f">{tag}<br>") for tag in ("r2", "r3", "r4", "r5")
    )
    assert "Compare the last 4 releases, too" in grown.get("/compare?q=fox").text


def test_a_file_has_a_row_for_each_search_and_release(grown: Site) -> None:
    answer = grown.get("/compare.csv?q=fox&q=hare&history=1")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))

    assert [(row["query"], row["release"]) for row in rows] == [
        (query, f"r{number}") for query in ("fox", "hare") for number in (5, 4, 3, 2)
    ]
    assert rows[0] == {
        "query": "fox",
        "release": "r5",
        "image_count": "6",
        "hidden_count": "1",
        "shown_count": "5",
    }
    assert 'filename="laion-compare-fox-hare-r5.csv"' in answer.headers["content-disposition"]


def test_fields_that_nobody_filled_in_leave_the_address(site: Site) -> None:
    answer = site.get("/compare?q=fox&q=&q=+&q=fox&site=&history=false")

    assert answer.url == f"{site.url}/compare?q=fox"
    assert "<h1>Compare 1 search</h1>" in answer.text
    assert site.get("/compare").status_code == 200


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("&".join(f"q={n}" for n in range(21)), "21 phrases to compare; 20 at most"),
        (f"q={'x' * 2_001}", "a phrase has 2,001 characters; 2,000 at most"),
        ("q=fox&q=-red", "-red: add a word to look for"),
        ("q=fox&site=a&site=b", "parameter 'site' is given twice"),
        ("q=fox&sort=width", "unknown parameter 'sort'"),
    ],
)
def test_what_cannot_be_compared_is_refused(site: Site, query: str, reason: str) -> None:
    answer = site.get(f"/compare.json?{query}")

    assert answer.status_code == 400
    assert reason in answer.json()["reason"]


def test_twenty_can_be_compared(site: Site) -> None:
    query = "&".join(f"q={n}" for n in range(20))
    assert len(site.get(f"/compare.json?{query}").json()["searches"]) == 20
