"""The facets of the search page: their links lead to as many images as they say."""

import re
from html import unescape
from pathlib import Path

import pytest

from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets.web.params import SearchQuery
from laion_assets_tests.conftest import make_settings
from laion_assets_tests.subsets.shards import COLUMNS, bring_all, declare, make_rows, release
from laion_assets_tests.web.conftest import Released
from laion_assets_tests.web.site import Site, run_site


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", ["/search.json?q=fox", "/sites/host3.test.json"])
def test_each_facet_leads_to_as_many_images(site: Site, path: str) -> None:
    found = site.get(path).json()

    table = found["facets"]
    assert table["is_exact"]
    assert table["counted"] == found["shown"] > 0
    names = [facet["name"] for facet in table["facets"]]
    assert names == ["site", "domain", "shard", "size", "aesthetic", "punsafe"]
    for facet in table["facets"]:
        told = sum(v["image_count"] for v in facet["values"])
        assert told + facet["other_count"] + facet["missing_count"] == found["shown"]
        for value in facet["values"]:
            address = value["address"].replace("?", ".json?")
            assert site.get(address).json()["shown"] == value["image_count"], address


def test_the_page_has_the_same_links_and_numbers(site: Site) -> None:
    html = site.get("/search?q=fox").text
    links = dict(re.findall(r'<li><a href="([^"]+)" rel="nofollow">.*?</a> ([\d,]+)', html))

    expected = {
        value["address"]: f"{value['image_count']:,}"
        for facet in site.get("/search.json?q=fox").json()["facets"]["facets"]
        for value in facet["values"]
        if value["image_count"]
    }
    assert {unescape(link): number for link, number in links.items()} == expected
    assert "All 90 images that are shown are counted." in html


def test_facets_of_a_release_that_an_address_names_lead_to_that_release(released: Released) -> None:
    pinned = f"/search.json?q=fox&release={released.release}"
    for facet in released.site.get(pinned).json()["facets"]["facets"]:
        for value in facet["values"]:
            assert value["address"].endswith(f"&release={released.release}")


def test_facets_are_of_what_is_shown(site: Site) -> None:
    found = site.get("/search.json?q=lemur").json()
    everything = site.get("/search.json?q=lemur&max_punsafe=1").json()

    assert found["facets"]["counted"] == found["shown"] == found["total"] - 1
    assert everything["facets"]["counted"] == found["total"]


def test_there_are_no_facets_of_nothing(site: Site) -> None:
    assert site.get("/search.json").json()["facets"] is None
    assert site.get("/search.json?q=nothinghasthis").json()["facets"] is None
    assert '<details class="facets">' not in site.get("/search?q=nothinghasthis").text


@pytest.mark.parametrize(
    ("parameter", "heading"),
    [
        ("aesthetic=5..6", "with aesthetic score 5 to 6"),
        ("punsafe=..0.5", "with unsafe probability below 0.5"),
        ("pwatermark=0.9..", "with watermark probability from 0.9"),
        ("size=small", "of the size small (below 256 pixels)"),
        ("size=huge", "of the size huge (from 1024 pixels)"),
        ("license=CC+BY", "with the license CC BY"),
        ("nsfw=UNSURE", "labelled UNSURE"),
        ("language=de", "in the language de"),
    ],
)
def test_a_filter_of_a_facet_is_a_search_and_in_the_heading(
    site: Site, parameter: str, heading: str
) -> None:
    answer = site.get(f"/search?{parameter}")

    assert heading in " ".join(answer.text.split())
    name, _, value = parameter.partition("=")
    field = f'name="{name}" value="{value.replace("+", " ")}"'
    assert (f'<option value="{value}" selected>' if name == "size" else field) in answer.text


@pytest.mark.parametrize("parameter", ["aesthetic=5", "punsafe=a..b", "size=vast"])
def test_what_a_filter_cannot_be_is_refused(site: Site, parameter: str) -> None:
    answer = site.get(f"/search.json?{parameter}")

    assert answer.status_code == 400
    assert answer.json()["reason"]


def test_a_blank_filter_is_none() -> None:
    blank = [(name, " ") for name in ("size", "license", "aesthetic")]
    assert SearchQuery.read(blank) == SearchQuery()


@pytest.mark.exhaustive
def test_declared_columns_are_facets_that_filter_by_a_condition(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    curation = declare(settings, COLUMNS)
    bring_all(settings, "a", make_rows("a", 60), curation)
    release(settings, curation)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        found = site.get("/search.json?q=lemur&where=width+>+200").json()
        own = {each["name"]: each for each in found["facets"]["facets"] if each["is_own"]}
        assert own.keys() == {"ratio", "is_wide"}
        assert (own["ratio"]["is_range"], own["is_wide"]["is_range"]) == (True, False)
        for facet in own.values():
            for value in facet["values"]:
                address = value["address"].replace("?", ".json?")
                assert site.get(address).json()["shown"] == value["image_count"], address
        html = site.get("/search?q=lemur").text
        assert "<h2>Ratio</h2>" in html
        assert "<h2>Is_wide</h2>" in html
