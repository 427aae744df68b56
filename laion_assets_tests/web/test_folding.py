"""Folded repeats on the page: one of each, how many more there are, and a link to them."""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from laion_assets.search import search
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.web.conftest import ingest, make_settings
from laion_assets_tests.web.site import Site, run_site

DIFFERENT = 45
REPEATED = 3
# Besides one that is hidden.
SHOWN = DIFFERENT * REPEATED


@pytest.fixture(scope="module")
def repeating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    """A site whose captions repeat, and its release."""
    settings = make_settings(tmp_path_factory.mktemp("folding") / "laion")
    rows = [
        (f'a "fox" & number {n}', f"https://a.test/{n}/{copy}.jpg", 0.0, n / 10)
        for copy in range(REPEATED)
        for n in range(DIFFERENT)
    ]
    ingest(settings, "alpha", [*rows, ('a "fox" & number 7', "https://b.test/7.jpg", 0.9, 1.0)])
    ingest(settings, "beta", [("a lone lemur", "https://b.test/8.jpg", 0.0, 1.0)])
    release = refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        yield site, release


@pytest.fixture
def site(repeating: tuple[Site, str]) -> Site:
    return repeating[0]


def read_json(site: Site, address: str) -> dict[str, object]:
    path, _, query = address.partition("?")
    answer = site.get(f"{path}.json?{query}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.exhaustive
def test_json_has_one_of_each_and_how_many_more(site: Site) -> None:
    captions = []
    for page in (1, 2, 3):
        found = site.get(f"/search.json?q=fox&sort=aesthetic&fold=1&page={page}").json()
        assert (found["fold"], found["different"], found["page_count"]) == (True, DIFFERENT, 3)
        assert (found["total"], found["hidden"], found["shown"]) == (SHOWN + 1, 1, SHOWN)
        assert {image["more"] for image in found["images"]} == {REPEATED - 1}
        captions += [image["caption"] for image in found["images"]]

    assert captions == [f'a "fox" & number {n}' for n in reversed(range(DIFFERENT))]
    assert site.get("/search.json?q=fox&fold=1&page=4").status_code == 404


@pytest.mark.exhaustive
def test_each_image_leads_to_those_that_it_stands_for(site: Site) -> None:
    found = site.get("/search.json?q=fox&sort=aesthetic&view=grid&fold=1&page=2").json()

    for image in found["images"]:
        alike = read_json(site, image["more_address"])
        assert alike["shown"] == image["more"] + 1
        assert not alike["fold"]
        assert {i["caption"] for i in alike["images"]} == {image["caption"]}  # type: ignore[attr-defined]
        assert alike["sort"] == "aesthetic"
    (one,) = (i for i in found["images"] if i["caption"].endswith(" 17"))
    assert one["more_address"] == (
        f"/search?q=fox&sort=aesthetic&view=grid&alike=alpha%2F{one['row_index']}"
    )


def test_what_is_hidden_is_counted_among_the_alike(site: Site) -> None:
    address = "/search?q=fox&alike=alpha/7"
    safe, every = (read_json(site, address + more) for more in ("", "&max_punsafe=1"))

    assert (safe["total"], safe["hidden"], safe["shown"]) == (REPEATED + 1, 1, REPEATED)
    assert every["shown"] == REPEATED + 1


def test_an_image_without_repeats_leads_nowhere(site: Site) -> None:
    (image,) = site.get("/search.json?q=lemur&fold=1").json()["images"]

    assert (image["more"], image["more_address"]) == (0, None)
    assert "more like this" not in site.get("/search?q=lemur&fold=1").text


def test_what_is_not_folded_says_nothing_of_it(site: Site) -> None:
    found = site.get("/search.json?q=fox").json()
    html = site.get("/search?q=fox").text

    assert (found["fold"], found["different"]) == (False, None)
    assert {image["more"] for image in found["images"]} == {None}
    assert "different" not in html
    assert "more like this" not in html


def test_the_page_says_it_and_links_to_both(site: Site) -> None:
    plain, folded = (site.get(f"/search?q=fox&view=grid{fold}").text for fold in ("", "&fold=1"))
    images = site.get("/search.json?q=fox&view=grid&fold=1").json()["images"]

    assert (
        '<a class="button" href="/search?q=fox&amp;view=grid&amp;fold=1" rel="nofollow">' in plain
    )
    assert '<a class="button" href="/search?q=fox&amp;view=grid" rel="nofollow">' in folded
    heading = re.search("<h1>(.*?)</h1>", folded, re.DOTALL)
    assert heading
    words = " ".join(heading[1].split())
    assert words.endswith(f"1 of them hidden as unsafe, {DIFFERENT} of the others different")
    links = re.findall('<a href="([^"]*)" rel="nofollow">2 more like this</a>', folded)
    assert list(map(unescape, links)) == [image["more_address"] for image in images]
    # The next search is folded, too, and so is the next page.
    assert '<input type="hidden" name="fold" value="1">' in folded
    assert "/search?q=fox&amp;view=grid&amp;fold=1&amp;page=2" in folded
    assert 'name="fold"' not in plain


def test_the_page_of_the_alike_says_so(site: Site) -> None:
    html = " ".join(site.get("/search?q=fox&alike=alpha/3").text.split())

    assert "with the caption or URL of alpha/3" in html
    assert '<input form="search" name="alike" value="alpha/3">' in html


def test_a_page_of_a_release_leads_to_that_release(repeating: tuple[Site, str]) -> None:
    site, release = repeating
    found = site.get(f"/search.json?q=fox&fold=1&release={release}").json()

    assert found["images"][0]["more_address"].endswith(f"&release={release}")


@pytest.mark.parametrize("path", ["/search{}?q=fox", "/search{}?site=a.test"])
def test_files_and_citations_have_every_image(site: Site, path: str) -> None:
    for suffix in (".csv", ".ndjson"):
        plain, folded = (site.get(path.format(suffix) + fold) for fold in ("", "&fold=1"))
        assert folded.status_code == 200
        assert folded.content == plain.content
    plain, folded = (site.get(path.format(".json") + fold) for fold in ("", "&fold=1"))
    assert folded.json()["cite"] == plain.json()["cite"]
    assert folded.json()["facets"]["counted"] == SHOWN


def test_files_have_the_alike_alone(site: Site) -> None:
    lines = site.get("/search.ndjson?q=fox&alike=alpha/3").text.splitlines()

    assert [json.loads(line)["caption"] for line in lines] == ['a "fox" & number 3'] * REPEATED


@pytest.mark.exhaustive
def test_too_many_are_shown_as_they_are_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_FOLDED", 2)
    settings = make_settings(tmp_path / "laion")
    ingest(settings, "alpha", [("a fox", f"https://a.test/{n}", 0.0, 1.0) for n in range(3)])
    refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        found = site.get("/search.json?q=fox&fold=1").json()
        html = site.get("/search?q=fox&fold=1").text

    assert (found["fold"], found["different"], len(found["images"])) == (True, None, 3)
    (note,) = found["notes"]
    assert "repeats are shown" in note
    assert note in html


@pytest.mark.parametrize("parameter", ["alike=alpha/999", "alike=nowhere", "fold=maybe"])
def test_what_cannot_be_is_refused(site: Site, parameter: str) -> None:
    answer = site.get(f"/search.json?q=fox&{parameter}")

    assert answer.status_code == 400
    assert answer.json()["reason"]
