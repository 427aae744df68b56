"""The card of a number, which other sites may frame, and oEmbed that names it."""

import re
from html import unescape
from urllib.parse import quote, urlsplit

import pytest

from laion_assets_tests.web.conftest import Released
from laion_assets_tests.web.site import Site

CARDS = {
    "/search?q=fox": "90 images whose caption has fox",
    "/search?q=fox&view=grid&sort=area&page=2": "90 images whose caption has fox",
    "/search?q=lemur": "6 images whose caption has lemur (1 hidden as unsafe)",
    "/domains/zoo.test": "6 images from zoo.test (1 hidden as unsafe)",
    "/sites/pinimg.com": "3 images from the site pinimg.com (1 hidden as unsafe)",
    "/names/artists/Ana%20Fox": '90 images whose caption has "Ana Fox"',
    "/names/characters/data.csv.html": '0 images whose caption has "data.csv"',
}


def read_text(html: str) -> str:
    return " ".join(unescape(re.sub("<.+?>", " ", html.partition("<main>")[2])).split())


@pytest.mark.parametrize("address", CARDS)
def test_a_number_has_a_card_that_other_sites_may_frame(released: Released, address: str) -> None:
    card = released.site.get(f"/embed{address}")

    assert card.status_code == 200
    assert read_text(card.text).startswith(CARDS[address])
    assert released.release in card.text
    assert "frame-ancestors *" in card.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in released.site.get(address).headers["content-security-policy"]
    assert "<script" not in card.text
    assert "<form" not in card.text
    assert len(card.content) < 2_000


@pytest.mark.parametrize("address", CARDS)
def test_oembed_names_the_card_of_a_page(released: Released, address: str) -> None:
    site = released.site
    page = site.get(address).text
    (discovered,) = re.findall(
        '<link rel="alternate" href="(.+?)" type="application/json.oembed"', page
    )
    found = site.get(unescape(discovered))
    by_hand = site.get(f"/oembed?url={quote(address, safe='')}&maxwidth=300&other=1").json()
    card = found.json()
    (source,) = re.findall('<iframe src="(.+?)"', card["html"])

    assert found.headers["content-type"] == "application/json"
    assert (card["version"], card["type"], card["title"]) == ("1.0", "rich", CARDS[address])
    assert f"release={released.release}" in source, "the number stays the same"
    assert read_text(site.get(unescape(source)).text).startswith(CARDS[address])
    assert f'width="{card["width"]}" height="{card["height"]}"' in card["html"]
    assert by_hand["width"] == 300
    assert by_hand["title"] == CARDS[address]


def test_the_frame_is_there_to_copy(released: Released) -> None:
    page = released.site.get("/search?q=fox+%22%3Cb%3E").text
    (frame,) = re.findall("(&lt;iframe.+?/iframe&gt;)", page)
    (source,) = re.findall('src="(.+?)"', unescape(frame))

    assert released.site.get(unescape(source)).status_code == 200
    assert urlsplit(source).path == "/embed/search"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/embed/about", 404),
        ("/embed/images/beta/1", 404),
        ("/embed/nowhere", 404),
        ("/embed/search", 404),
        ("/embed/search.json?q=fox", 404),
        ("/embed/search?q=fox&colour=red", 400),
        ("/embed/domains/nowhere.test", 404),
    ],
)
def test_a_card_that_is_not_there_says_so_in_its_frame(
    site: Site, address: str, status: int
) -> None:
    card = site.get(address)

    assert card.status_code == status
    assert card.text.startswith("<!doctype html>")
    assert "frame-ancestors *" in card.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ("", 400),
        ("url=/about", 404),
        ("url=/search", 404),
        ("url=https://other.test/search?q=fox", 404),
        ("url=/domains/nowhere.test", 404),
        ("url=/search%3Fcolour=red", 400),
        ("url=/search%3Fq=fox%26release=never", 404),
        ("url=/search%3Fq=fox&format=xml", 501),
        ("url=/search%3Fq=fox&maxwidth=0", 400),
        ("url=http://[", 404),
        ("url=/%00", 404),
    ],
)
def test_oembed_says_why_it_names_no_card(site: Site, parameters: str, status: int) -> None:
    answer = site.get(f"/oembed?{parameters}")

    assert answer.status_code == status
    assert answer.json()["reason"]
