"""Sites, their hosts, and what people paste to find them."""

import re
from urllib.parse import quote

import pytest

from laion_assets_tests.web.conftest import ODD_HOSTS, PINS
from laion_assets_tests.web.site import Site


@pytest.mark.parametrize(
    "written",
    [
        *("pinimg.com", "PINIMG.com", "*.pinimg.com", "pinimg.com.", "pinimg.com:443"),
        *(" https://pinimg.com/a?b#c ", "//user@pinimg.com:80/", "*.PinImg.com."),
    ],
)
def test_a_site_is_found_however_it_is_written(site: Site, written: str) -> None:
    found = site.get(f"/search.json?site={quote(written)}&max_punsafe=1").json()

    assert sorted(image["url"] for image in found["images"]) == sorted(PINS)


@pytest.mark.parametrize(
    ("written", "count"),
    [
        *(("i.pinimg.com", 2), ("https://i.pinimg.com/none.jpg", 2), ("i.pinimg.com:80", 2)),
        *(("media.pinimg.com", 1), ("media.pinimg.com.", 1), ("*.i.pinimg.com", 2)),
        *(("*.com", 3), ("com", 0), ("inimg.com", 0), ("*.test", 0), ("%", 0), ("it's", 0)),
    ],
)
def test_a_host_or_a_part_of_a_site_is_found(site: Site, written: str, count: int) -> None:
    if written == "*.test":
        assert site.get("/search.json?site=*.test").json()["total"] > 90
        return
    found = site.get(f"/search.json?site={quote(written)}&max_punsafe=1").json()
    assert found["total"] == count


def test_a_site_has_the_sum_of_its_hosts(site: Site) -> None:
    page = site.get("/sites/pinimg.com.json").json()

    assert (page["site"], page["image_count"], page["host_count"]) == ("pinimg.com", 3, 2)
    assert page["hosts"] == [
        {"name": "i.pinimg.com", "image_count": 2},
        {"name": "media.pinimg.com.", "image_count": 1},
    ]
    for written in ("i.pinimg.com", "*.pinimg.com", "https://i.pinimg.com/a/1.jpg"):
        assert site.get(f"/sites/{quote(written, safe='')}.json").json()["site"] == "pinimg.com"
    assert site.get("/sites/nowhere.test").status_code == 404
    assert "/sites/pinimg.com" in site.get("/domains/pinimg.com.json").json()["reason"]


def test_every_site_of_the_list_can_be_opened(site: Site) -> None:
    text = site.get("/sites").text
    sites = site.get("/sites.csv").content.decode("utf-8-sig").splitlines()

    links = re.findall(r'<th scope="row"><a href="(/sites/.+?)"', text)
    assert sites[0] == "registered_domain,image_count,host_count"
    assert "pinimg.com,3,2" in sites
    assert len(links) == len(sites) - 1
    for link in links:
        assert site.get(link).status_code == 200, link


def test_an_address_is_looked_up(site: Site) -> None:
    shown = site.get(f"/lookup.json?url={quote(PINS[0])}").json()
    other_scheme = site.get(f"/lookup.json?url={quote(PINS[0].replace('https', 'http'))}").json()
    hidden = site.get(f"/lookup.json?url={quote(PINS[1])}").json()

    assert [image["url"] for image in shown["images"]] == [PINS[0]]
    assert [image["url"] for image in other_scheme["images"]] == [PINS[0]]
    assert (hidden["images"], hidden["hidden"]) == ([], 1)
    assert (shown["host_image_count"], shown["site_image_count"]) == (2, 3)


def test_nothing_is_said_only_after_host_and_site_were_looked_for(site: Site) -> None:
    assert "Nothing:" not in site.get("/lookup?url=https://x.pinimg.com/gone.jpg").text
    assert "3 from the site" in site.get("/lookup?url=https://x.pinimg.com/gone.jpg").text
    assert "Nothing:" in site.get("/lookup?url=https://x.nowhere.test/gone.jpg").text
    for written in ("", "///", "http://[", "::1", "\0", *ODD_HOSTS):
        assert site.get(f"/lookup?url={quote(written)}").status_code == 200
