"""Sites, their hosts, and what people paste to find them."""

import io
import json
import re
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from laion_assets_tests.web.conftest import ODD_HOSTS, PINS
from laion_assets_tests.web.site import Site

ONE_PLACE = (
    *("pinimg.com", "PINIMG.com", "*.pinimg.com", "pinimg.com.", "pinimg.com:443"),
    *(" https://pinimg.com/a?b#c ", "//user@pinimg.com:80/", "*.PinImg.com."),
)
PARTS = {
    "i.pinimg.com": 2,
    "https://i.pinimg.com/none.jpg": 2,
    "i.pinimg.com:80": 2,
    "media.pinimg.com": 1,
    "media.pinimg.com.": 1,
    "*.i.pinimg.com": 2,
    "*.com": 3,
    "com": 0,
    "inimg.com": 0,
    "%": 0,
    "it's": 0,
    "*.host7.test": 3,
}


@pytest.mark.parametrize("written", ONE_PLACE)
def test_a_site_is_found_however_it_is_written(site: Site, written: str) -> None:
    found = site.get(f"/search.json?site={quote(written)}&max_punsafe=1").json()

    assert sorted(image["url"] for image in found["images"]) == sorted(PINS)


def test_what_has_nothing_leads_to_what_is_below_it(site: Site) -> None:
    reason = site.get("/sites/com.json").json()["reason"]
    assert reason.endswith("; hosts below it have 3: /search?site=%2A.com")

    hints = site.get("/search.json?site=com&max_punsafe=1").json()["hints"]
    assert [(hint["query"], hint["image_count"]) for hint in hints] == [("*.com", 3)]
    assert site.get(hints[0]["address"]).status_code == 200
    assert site.get("/search.json?site=nowhere.test").json()["hints"] == []


def test_a_pasted_address_that_was_searched_for_as_words_is_looked_up(site: Site) -> None:
    address = f"/search.json?q={quote(PINS[0])}&max_punsafe=1"
    (hint,) = site.get(address).json()["hints"]

    assert (hint["query"], hint["image_count"]) == (PINS[0], 1)
    assert PINS[0] in site.get(hint["address"]).text
    assert site.get("/search.json?q=https://a.test/none").json()["hints"] == []


@pytest.mark.parametrize(("written", "count"), PARTS.items())
def test_a_host_or_a_part_of_a_site_is_found(site: Site, written: str, count: int) -> None:
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


def test_images_and_hosts_of_a_site_are_files_with_all_rows(site: Site) -> None:
    images = site.get("/sites/i.pinimg.com.csv?max_punsafe=1")
    shown = site.get("/sites/pinimg.com.ndjson").text.splitlines()
    parquet = pq.read_table(io.BytesIO(site.get("/sites/pinimg.com.parquet?max_punsafe=1").content))
    hosts = site.get("/domains.csv?site=*.pinimg.com").content.decode("utf-8-sig").splitlines()
    page = site.get("/domains.json?site=https://pinimg.com/1.jpg&containing=MEDIA").json()

    lines = images.content.decode("utf-8-sig").splitlines()
    assert sorted(line.split(",")[1] for line in lines[1:]) == sorted(PINS)
    assert "pinimg.com" in images.headers["content-disposition"]
    assert sorted(json.loads(line)["url"] for line in shown) == sorted([PINS[0], PINS[2]])
    assert sorted(parquet["url"].to_pylist()) == sorted(PINS)
    assert hosts == ["domain,image_count", "i.pinimg.com,2", "media.pinimg.com.,1"]
    assert (page["total"], page["largest"]) == (1, 2)
    assert page["counts"] == [{"name": "media.pinimg.com.", "image_count": 1}]
    assert site.get("/sites/nowhere.test.csv").status_code == 404
    assert site.get("/domains?site=https://").status_code == 400
    assert 'href="/domains?site=pinimg.com"' in site.get("/sites/pinimg.com").text


@pytest.mark.parametrize("written", [*ONE_PLACE, *PARTS])
def test_site_in_a_query_is_the_filter_site(site: Site, written: str) -> None:
    if any(map(str.isspace, written)):
        # It ends there.
        return
    filtered = site.get(f"/search.json?site={quote(written)}&max_punsafe=1").json()
    asked = site.get(f"/search.json?q=site:{quote(written)}&max_punsafe=1").json()
    left = site.get(f"/search.json?q=pin+-site:{quote(written)}&max_punsafe=1").json()

    assert (asked["total"], asked["images"]) == (filtered["total"], filtered["images"])
    assert left["total"] == 3 - sum("pinimg" in image["url"] for image in filtered["images"])


@pytest.mark.exhaustive
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
