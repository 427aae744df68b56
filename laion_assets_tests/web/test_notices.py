"""What programs look for at fixed addresses."""

import re
from xml.etree import ElementTree

import pytest

from laion_assets.web.pages import PAGES
from laion_assets.web.responses import ComparePage, ImagePage, Images, LookupPage, PictureSearchPage
from laion_assets.web.visit import Page
from laion_assets_tests.web.conftest import Released
from laion_assets_tests.web.site import Site

ATOM = "{http://www.w3.org/2005/Atom}"
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
OPENSEARCH = "{http://a9.com/-/spec/opensearch/1.1/}"


def read_xml(site: Site, address: str) -> ElementTree.Element:
    return ElementTree.fromstring(site.get(address).content)  # noqa: S314


def is_allowed(robots: str, path: str) -> bool:
    """Reads a path as RFC 9309 has it: `*` is any text."""
    rules = re.findall("^Disallow: (.+)$", robots, re.MULTILINE)
    return not any(re.match(".*".join(map(re.escape, rule.split("*"))), path) for rule in rules)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_robots_leave_out_every_page_that_has_captions(site: Site, page: Page) -> None:
    robots = site.get("/robots.txt").text
    # A comparison has none, but there are as many as there are questions.
    kinds = Images | ImagePage | LookupPage | ComparePage | PictureSearchPage
    has_captions = issubclass(page.answer, kinds)
    path = page.write_path(dict.fromkeys(re.findall(r"{(\w+)", page.path), "some"))

    for address in (path, f"{path}.json", f"{path}?release=1"):
        assert is_allowed(robots, address) is not has_captions, address
    assert not is_allowed(robots, f"/embed{path}")


def test_the_sitemap_has_the_lists_that_robots_may_read(released: Released) -> None:
    site = released.site
    tree = read_xml(site, "/sitemap.xml")
    paths = [place.text or "" for place in tree.iter(f"{SITEMAP}loc")]

    assert {"/", "/sites", "/names/artists", f"/releases/{released.release}"} <= set(paths)
    for path in paths:
        assert site.get(path).status_code == 200, path
        assert is_allowed(site.get("/robots.txt").text, path), path
    assert "/sitemap.xml" in site.get("/robots.txt").text


def test_the_feed_has_the_releases(released: Released) -> None:
    answer = released.site.get("/releases.atom")
    tree = read_xml(released.site, "/releases.atom")
    (entry,) = tree.iter(f"{ATOM}entry")

    assert answer.headers["content-type"].startswith("application/atom+xml")
    assert entry.findtext(f"{ATOM}title") == f"Release {released.release}"
    assert entry.findtext(f"{ATOM}id") == f"/releases/{released.release}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.findtext(f"{ATOM}updated") or "")
    assert tree.findtext(f"{ATOM}updated") == entry.findtext(f"{ATOM}updated")


def test_a_browser_can_search_from_its_own_field(site: Site) -> None:
    tree = read_xml(site, "/opensearch.xml")
    (address,) = (
        url.get("template")
        for url in tree.iter(f"{OPENSEARCH}Url")
        if url.get("type") == "text/html"
    )

    assert address == "/search?q={searchTerms}"
    assert 'href="/opensearch.xml"' in site.get("/").text


def test_a_page_is_described_for_those_who_link_to_it(site: Site) -> None:
    page = site.get("/search?q=fox&view=grid&page=2").text

    assert '<link rel="canonical" href="/search?q=fox&amp;page=2">' in page
    assert '<meta property="og:url" content="/search?q=fox&amp;page=2">' in page
    assert '<meta property="og:title" content="fox">' in page
    (description,) = re.findall('<meta name="description" content="(.*?)">', page)
    assert description.startswith("90 images whose caption has fox, in release ")
    for address in ("/images/alpha/4", "/images/alpha/4?max_punsafe=1"):
        head = site.get(address).text.partition("</head>")[0]
        assert "unsafe lemur" not in head, "a preview shows no caption that is hidden"


def test_the_icon_is_where_browsers_look_for_it(site: Site) -> None:
    icon = site.get("/favicon.ico")

    assert icon.headers["content-type"] == "image/x-icon"
    assert icon.content[:4] == b"\0\0\1\0"


@pytest.mark.parametrize("address", ["/nowhere", "/search?colour=red", "/images/beta/90"])
def test_a_page_of_a_problem_has_navigation_and_a_search(site: Site, address: str) -> None:
    page = site.get(address).text

    for link in ("/names/artists", "/sites", "/lookup", "/about"):
        assert f'href="{link}"' in page
    assert 'action="/search"' in page
