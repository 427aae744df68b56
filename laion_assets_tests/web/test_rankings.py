"""The page ranks pictures by meaning and looks, where the release has vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from laion_assets.embeddings.encoder import open_encoder
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.embeddings.vectors import bring_vectors
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.web.conftest import open_page
from laion_assets_tests.web.site import Site, run_site

pytestmark = pytest.mark.slow

# A vector is the mean colour.
COLOURS = {
    "tomato": [9, 1, 1],
    "cherry": [8, 1, 1],
    "cucumber": [1, 9, 1],
    "plum": [4, 1, 7],
    "a <b>red</b> sky": [1, 3, 9],
}
COUNT = 60


def make_release(folder: Path) -> Settings:
    settings = replace(Settings.default(folder / "data"), sheets={})
    colours = [*COLOURS.values(), *[[n, 100 - n, 50] for n in range(COUNT - len(COLOURS) - 1)]]
    captions = [*COLOURS, *[f"shade {n}" for n in range(COUNT - len(COLOURS))]]
    # The last has no vector, and the second is unsafe.
    punsafe = [0.9 if row == 1 else 0.1 for row in range(COUNT)]
    bring_vectors(settings, "alpha", [*colours, None], caption=captions, punsafe=punsafe)
    refresh(settings)
    return settings


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    """The page with an encoder, and without one."""
    folder = tmp_path_factory.mktemp("rankings")
    store = LanceStore(make_release(folder).lance_dir)
    encoder = open_encoder(str(EncoderFiles().write(folder / "encoder")))
    shelves = Shelf(store, encoder=encoder), Shelf(store)
    for shelf in shelves:
        shelf.refresh()
    with run_site(build_app(shelves[0])) as one, run_site(build_app(shelves[1])) as other:
        yield one, other


def ask(site: Site, address: str) -> dict[str, Any]:
    response = site.get(address)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def captions(answer: dict[str, Any]) -> list[str]:
    return [image["caption"] for image in answer["images"]]


def test_meaning_ranks_and_words_pick(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    assert captions(ask(site, "/search.json?q=red")) == ["a <b>red</b> sky"]
    meaning = ask(site, "/search.json?q=red&by=meaning")
    assert captions(meaning)[0] == "tomato"
    assert (meaning["by"], meaning["ranked"], meaning["page_count"]) == ("meaning", 21, 2)
    # Numbers of the filter, which hides one; nothing to quote, and no counts.
    assert [meaning[name] for name in ("total", "hidden", "shown")] == [COUNT, 1, COUNT - 1]
    assert (meaning["cite"], meaning["facets"]) == (None, None)
    both = ask(site, "/search.json?q=red&by=both")
    assert set(captions(both)[:2]) == {"tomato", "a <b>red</b> sky"}
    assert "cherry" not in captions(meaning)
    unsafe = ask(site, "/search.json?q=red&by=meaning&max_punsafe=1")
    assert set(captions(unsafe)[:2]) == {"tomato", "cherry"}


def test_pages_follow_the_ranking_to_its_end(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    found = []
    for page in (1, 2, 3):
        answer = ask(site, f"/search.json?q=red&by=meaning&page={page}")
        found.extend(captions(answer))
    assert answer["page_count"] == 3
    assert len(found) == len(set(found)) == COUNT - 2
    assert site.get("/search.json?q=red&by=meaning&page=4").status_code == 404
    rows = site.get("/search.csv?q=red&by=meaning").text.splitlines()
    assert len(rows) == COUNT - 1


def test_more_like_an_image(sites: tuple[Site, Site]) -> None:
    for site in sites:
        answer = ask(site, "/search.json?like=alpha/0&max_punsafe=1")
        assert captions(answer)[0] == "cherry"
        assert "tomato" not in captions(answer)
        assert all(image["has_vector"] for image in answer["images"])
    folded = ask(sites[0], "/search.json?q=red&by=meaning&max_punsafe=1&fold=1")
    first, second = folded["images"][:2]
    assert (first["caption"], first["more"] >= 1) == ("tomato", True)
    assert second["caption"] != "cherry"
    assert first["more_address"].startswith("/search?like=alpha%2F0")
    assert site.get("/search.json?like=alpha/999").status_code == 400
    assert site.get("/search.json?like=alpha").status_code == 400
    assert site.get(f"/search.json?like=alpha/{COUNT - 1}").status_code == 400
    last = ask(site, f"/images/alpha/{COUNT - 1}.json")
    assert (last["has_vector"], ask(site, "/images/alpha/0.json")["has_vector"]) == (False, True)


def test_without_an_encoder_there_is_no_switch(sites: tuple[Site, Site]) -> None:
    with_encoder, without = (site.get("/search?q=red").text for site in sites)
    assert '<select id="by"' in with_encoder
    assert '<select id="by"' not in without
    assert "More like this" in without
    response = sites[1].get("/search.json?q=red&by=meaning")
    assert response.status_code == 400
    assert "LAION_ENCODER" in response.json()["reason"]


def test_a_form_of_words_has_the_address_that_it_always_had(sites: tuple[Site, Site]) -> None:
    import requests

    address = f"{sites[0].url}/search?q=red&by=words"
    response = requests.get(address, allow_redirects=False, timeout=20)
    assert (response.status_code, response.headers["location"]) == (302, "/search?q=red")


@pytest.fixture
def page(browser: Browser, sites: tuple[Site, Site]) -> Iterator[Page]:
    with open_page(browser, sites[0].url, java_script_enabled=False) as page:
        yield page


def test_in_a_browser_without_javascript(page: Page) -> None:
    page.goto("/")
    page.get_by_role("searchbox").fill("red")
    page.get_by_label("Search by").select_option("meaning")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Meaning: red, the nearest of 60")
    expect(page.locator(".images .caption").first).to_have_text("tomato")
    # The choice stays for the next search.
    expect(page.get_by_label("Search by")).to_have_value("meaning")
    page.get_by_role("link", name="More like this").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Images like alpha/0")
    page.get_by_role("link", name="Next →").click()
    expect(page.get_by_text("Page 2 of")).to_be_visible()


ADDRESSES = ("/search?q=red&by=both", "/search?like=alpha/0&view=grid", "/images/alpha/0")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("width", [320, 1280])
def test_no_barriers(browser: Browser, sites: tuple[Site, Site], address: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with open_page(browser, sites[0].url, viewport={"width": width, "height": 800}) as page:
        page.goto(address)
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
