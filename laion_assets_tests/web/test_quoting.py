"""Addresses that people pass on: short, tied to a release, and with words to quote them by."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets.web.render import pin_links
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.web.conftest import ingest, make_settings
from laion_assets_tests.web.site import Site, run_site

pytestmark = pytest.mark.slow

URL = "https://captions.test"
# What every release shares, and the card, whose address names its own release.
OF_NO_RELEASE = ("/static", "/openapi.json", "/favicon.ico", "/opensearch.xml", "/releases.atom")


@dataclass(frozen=True)
class Grown:
    """A site that had a release with two foxes, and now shows one with three."""

    site: Site
    first: str
    second: str


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    settings = make_settings(tmp_path_factory.mktemp("quoting") / "laion")
    foxes = [("a fox", "https://a.test/1.jpg", 0.0, 5.0), ("A & B fox", "https://a.test/2", 0.9, 4)]
    ingest(settings, "alpha", foxes)
    first = refresh(settings)
    ingest(settings, "beta", [("a fox by Ana Fox", "https://b.test/1.jpg", 0.0, 5.0)])
    second = refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf, public_url=URL)) as site:
        yield Grown(site, first, second)


def test_an_address_may_name_its_release(grown: Grown) -> None:
    newest = grown.site.get("/search.json?q=fox").json()
    pinned = grown.site.get(f"/search.json?q=fox&release={grown.first}").json()
    same = grown.site.get(f"/search.json?q=fox&release={grown.second}").json()
    lines = grown.site.get(f"/search.ndjson?q=fox&max_punsafe=1&release={grown.first}")

    assert (newest["release"], newest["total"]) == (grown.second, 3)
    assert (pinned["release"], pinned["total"], pinned["hidden"]) == (grown.first, 2, 1)
    assert (same["release"], same["total"]) == (grown.second, 3)
    assert len(lines.text.splitlines()) == 2
    assert f"laion-fox-max_punsafe-1-{grown.first}.ndjson" in lines.headers["content-disposition"]
    assert grown.site.get(f"/domains/b.test?release={grown.first}").status_code == 404
    assert grown.site.get(f"/index.json?release={grown.first}").json()["image_count"] == 2


@pytest.mark.exhaustive
def test_an_address_may_name_a_release_that_another_process_shows_already(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "laion")
    ingest(settings, "alpha", [("a fox", "https://a.test/1.jpg", 0.0, 5.0)])
    first = refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf, public_url=URL)) as site:
        ingest(settings, "beta", [("a red fox", "https://b.test/1.jpg", 0.0, 5.0)])
        second = refresh(settings)
        shown = site.get("/search.json?q=fox").json()
        pinned = site.get(f"/search.json?q=fox&release={second}").json()
        record = site.get(f"/releases/{second}.json").json()
        compared = site.get(f"/compare.json?q=fox&history=1&release={second}").json()

        assert (shown["release"], shown["total"]) == (first, 1)
        assert (pinned["release"], pinned["total"]) == (second, 2)
        assert (record["manifest"]["release"], record["changes"]["before"]) == (second, first)
        counts = compared["searches"][0]["counts"]
        assert [count["release"] for count in counts] == [second, first]
        assert site.get("/search.json?q=fox&release=2020-01-01.1").status_code == 404


def test_the_links_of_a_pinned_page_lead_to_the_same_release(grown: Grown) -> None:
    addresses = ("/", "/search?q=fox", "/domains", "/domains/a.test", "/images/alpha/0", "/about")
    for address in addresses:
        mark = "&" if "?" in address else "?"
        page = grown.site.get(f"{address}{mark}release={grown.first}")
        links = re.findall('href="(/[^"#]*)"', page.text)
        others = [link for link in links if f"release={grown.first}" not in link]

        assert page.status_code == 200
        assert all(link.startswith(OF_NO_RELEASE) for link in others), others
        assert "Show the newest" in page.text
        assert page.text.count('<input type="hidden" name="release"') == page.text.count(
            'class="search"'
        )
    assert "release=" not in grown.site.get("/about").text


def test_what_strangers_wrote_is_no_link_to_pin() -> None:
    html = b'<a href="/a?b=1&amp;c=2">x</a> href=&#34;/b&#34; <a href="https://a.test/">'

    assert pin_links(html, "a&b") == html.replace(b"c=2", b"c=2&amp;release=a%26b")


CITED = {
    "/search?q=%22a%20fox%22": '2 images whose caption has "a fox"',
    "/search?q=fox&domain=a.test&min_width=5&sort=area&page=1&view=grid": (
        "2 images whose caption has fox, from a.test, at least 5 pixels wide (1 hidden as unsafe)"
    ),
    "/search?q=fox+-ana": "2 images matching fox -ana (1 hidden as unsafe)",
    "/search?shard=beta": "1 image in shard beta",
    "/domains/a.test": "2 images from a.test (1 hidden as unsafe)",
    "/names/artists/Ana%20Fox": '1 image whose caption has "Ana Fox"',
}


@pytest.mark.parametrize("address", CITED)
def test_a_number_can_be_quoted_and_seen_again(grown: Grown, address: str) -> None:
    path, mark, query = address.partition("?")
    answer = grown.site.get(f"{path}.json{mark}{query}").json()
    cited = answer["cite"]
    (cited_path,) = re.findall(f"^{URL}(.+)", cited["address"])
    again = grown.site.get(cited_path.replace("?", ".json?", 1)).json()

    assert cited["text"].startswith(f"{CITED[address]}. LAION captions, release ")
    assert cited["image_count"] == answer["total"] == again["total"]
    assert again["cite"] == cited
    assert cited["address"].endswith(f"release={grown.second}")
    for fact in (grown.second, cited["content_sha256"], cited["address"]):
        assert fact in cited["text"]
        assert fact in cited["bibtex"]
    assert "Cite this" in grown.site.get(address).text


def test_bibtex_has_no_bare_signs_of_latex(grown: Grown) -> None:
    entry = grown.site.get("/search.json?q=A+%26+50%25+{x}_\\fox").json()["cite"]["bibtex"]

    assert r"0 images whose caption has A \& 50\% \{x\}\_\textbackslash{}fox" in entry
    assert entry.startswith(f"@misc{{laion-{grown.second}-")


def test_nothing_to_quote_where_nothing_was_asked(grown: Grown) -> None:
    assert grown.site.get("/search.json").json()["cite"] is None
    assert "Cite this" not in grown.site.get("/search").text


@pytest.mark.parametrize(
    ("sent", "short"),
    [
        ("/search?q=fox&domain=&shard=&min_width=&sort=relevance", "/search?q=fox"),
        ("/search?q=+&max_punsafe=0.5&page=1", "/search?q=+"),
        ("/search?q=fox&release=", "/search?q=fox"),
        ("/domains?containing=&sort=count", "/domains"),
        ("/?release=", "/"),
    ],
)
def test_a_form_leads_to_a_short_address(grown: Grown, sent: str, short: str) -> None:
    answer = requests.get(grown.site.url + sent, timeout=20, allow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (302, short)
    assert requests.get(grown.site.url + short, timeout=20, allow_redirects=False).ok


@pytest.mark.exhaustive
def test_many_releases_can_be_asked_for_one_after_another(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "laion")
    tags = []
    for number in range(6):
        rows = [("a fox", f"https://a.test/{row}", 0.0, 5.0) for row in range(number + 1)]
        ingest(settings, "alpha", rows)
        tags.append(refresh(settings))
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()

    counts = [shelf.open(tag).image_count for tag in (*tags, *reversed(tags))]

    assert counts == [1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1]
