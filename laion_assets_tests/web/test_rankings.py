"""The page ranks pictures by meaning and looks, where the release has vectors."""

from __future__ import annotations

import base64
import io
import json
import math
import pickle
import random
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from laion_assets.embeddings.encoder import open_encoder
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.embeddings.tiny_encoder import EncoderFiles
from laion_assets_tests.embeddings.vectors import bring_vectors
from laion_assets_tests.pipeline import refresh
from laion_assets_tests.search.test_rankings import paint
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
    # The last but one with a vector is far from everything, and the most beautiful.
    aesthetic = [10.0 if row == COUNT - 2 else 5.0 for row in range(COUNT)]
    more = {"caption": captions, "punsafe": punsafe, "aesthetic": aesthetic}
    bring_vectors(settings, "alpha", [*colours, None], **more)
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


@pytest.mark.exhaustive
def test_a_ranking_says_how_many_images_can_be_in_it(sites: tuple[Site, Site]) -> None:
    note = f"{COUNT - 1} of the {COUNT} images have a vector"
    assert note in sites[0].get("/search?q=red&by=meaning").text
    assert note in sites[0].get("/search?like=alpha/0").text
    assert note not in sites[0].get("/search?q=tomato").text


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


def test_better_pictures_rise_where_a_weight_says_so(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    best = f"shade {COUNT - len(COLOURS) - 2}"
    plain = ask(site, "/search.json?q=green&by=meaning")
    weighed = ask(site, "/search.json?q=green&by=meaning&aesthetic_weight=1")
    assert best not in captions(plain)
    assert captions(weighed)[0] == best
    assert 'name="aesthetic_weight"' in site.get("/search?q=green&by=meaning").text
    assert 'name="aesthetic_weight"' not in site.get("/search?q=green").text
    assert site.get("/search.json?q=green&by=meaning&aesthetic_weight=2").status_code == 400


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
    address = first["more_address"]
    assert address == "/search?max_punsafe=1.0&like=alpha%2F0"
    assert captions(ask(site, address.replace("?", ".json?")))[0] == "cherry"
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


ADDRESSES = (
    "/search/picture",
    "/search?q=red&by=both",
    "/search?like=alpha/0&view=grid",
    "/images/alpha/0",
)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("width", [320, pytest.param(1280, marks=pytest.mark.exhaustive)])
def test_no_barriers(browser: Browser, sites: tuple[Site, Site], address: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with open_page(browser, sites[0].url, viewport={"width": width, "height": 800}) as page:
        page.goto(address)
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def send(site: Site, picture: bytes, address: str = "/search/picture.json") -> requests.Response:
    """Sends a picture as the form does."""
    files = {"picture": ("picture.jpg", picture, "image/jpeg")}
    return requests.post(site.url + address, files=files, timeout=20)


def test_a_picture_that_is_sent_finds_those_like_it(sites: tuple[Site, Site]) -> None:
    site, without = sites
    picture = paint(10, 220, 20)
    answer = send(site, picture).json()
    assert captions(answer)[0] == "cucumber"
    assert [answer[name] for name in ("total", "hidden", "shown")] == [COUNT, 1, COUNT - 1]
    response = requests.post(f"{site.url}/search/picture.json", data=picture, timeout=20)
    assert captions(response.json()) == captions(answer)
    shown = send(site, picture, "/search/picture")
    assert "Images like your picture, the nearest of 60" in shown.text
    assert shown.headers["cache-control"] == "no-store"
    assert "img-src 'self';" in shown.headers["content-security-policy"]
    # Others are found with the unsafe ones, and nothing without an encoder.
    red = send(site, paint(255, 20, 20), "/search/picture.json?max_punsafe=1").json()
    assert set(captions(red)[:2]) == {"tomato", "cherry"}
    refused = send(without, picture)
    assert (refused.status_code, "LAION_ENCODER" in refused.json()["reason"]) == (400, True)


def turn(site: Site, vector: str | bytes, address: str) -> requests.Response:
    """Asks for another page, as its button does."""
    return requests.post(site.url + address, files={"vector": (None, vector)}, timeout=20)


def test_other_pages_of_a_picture_are_asked_for_with_its_vector(sites: tuple[Site, Site]) -> None:
    site, without = sites
    first = send(site, paint(10, 220, 20)).json()
    assert (first["page"], first["page_count"]) == (1, 2)
    found = captions(first)
    for page in (2, 3):
        answer = turn(site, first["vector"], f"/search/picture.json?page={page}").json()
        assert (answer["page"], answer["vector"]) == (page, first["vector"])
        found.extend(captions(answer))
    assert answer["page_count"] == 3
    # The unsafe one is hidden, and one has no vector.
    assert len(found) == len(set(found)) == COUNT - 2
    again = turn(site, first["vector"], "/search/picture.json").json()
    assert captions(again) == captions(first)
    unsafe = turn(site, first["vector"], "/search/picture.json?page=3&max_punsafe=1").json()
    assert len(captions(unsafe)) == len(captions(answer)) + 1
    # It needs no encoder; a picture that is sent as well goes first.
    beside = turn(without, first["vector"], "/search/picture.json?page=2").json()
    assert captions(beside) == found[20:40]
    files = {"picture": ("p.png", paint(255, 20, 20)), "vector": (None, first["vector"])}
    both = requests.post(f"{site.url}/search/picture.json", files=files, timeout=20).json()
    assert captions(both)[0] == "tomato"
    assert turn(site, first["vector"], "/search/picture?page=4").status_code == 404
    assert "vector" not in site.get("/search/picture?page=2").text


def test_a_picture_is_searched_with_filters_weight_and_folding(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    red = paint(255, 20, 20)
    path = "/search/picture.json?max_punsafe=1"
    assert captions(send(site, red, path).json())[:2] == ["tomato", "cherry"]
    first = send(site, red, f"{path}&fold=1").json()["images"][0]
    assert (first["caption"], first["more"] >= 1) == ("tomato", True)
    assert first["more_address"] == "/search?max_punsafe=1.0&like=alpha%2F0"
    filtered = send(site, red, f"{path}&where=row_index+%3E+1&min_aesthetic=6").json()
    best = f"shade {COUNT - len(COLOURS) - 2}"
    assert (captions(filtered), filtered["total"]) == ([best], 1)
    assert captions(send(site, red, f"{path}&aesthetic_weight=1").json())[0] == best
    shown = send(site, red, "/search/picture?min_aesthetic=6").text
    assert "nearest of 1, with an aesthetic score of at least 6" in " ".join(shown.split())
    assert send(site, red, f"{path}&q=fox").status_code == 400


def pack(*numbers: float) -> bytes:
    return base64.b64encode(np.array(numbers, "<f4").tobytes())


BAD_VECTORS = {
    "no base64": (b"no base64!", "vector: it is not base64"),
    "nothing": (b"", "vector: it is not base64"),
    "half a number": (base64.b64encode(b"123"), "vector: it is not base64"),
    "of another model": (pack(1, 2), "those of the table have 3 numbers"),
    "endless": (pack(*[1] * 20_000), "vector: it is not base64"),
    "zero": (pack(0, 0, 0), "it is zero"),
    "not finite": (pack(1, math.nan, 0), "not finite"),
    "infinite": (pack(1, math.inf, 0), "not finite"),
    "markup": (b"<script>alert(1)</script>", "vector: it is not base64"),
    "pickle": (base64.b64encode(pickle.dumps([1, 2, 3])), "vector: it"),
}


@pytest.mark.parametrize(("vector", "reason"), BAD_VECTORS.values(), ids=BAD_VECTORS.keys())
def test_what_is_no_vector_of_a_picture_is_refused_in_words(
    sites: tuple[Site, Site], vector: bytes, reason: str
) -> None:
    response = turn(sites[0], vector, "/search/picture.json?page=2")
    assert (response.status_code, reason in response.json()["reason"]) == (400, True)
    shown = turn(sites[0], vector, "/search/picture?page=2")
    assert (shown.status_code, "alert(1)" in shown.text) == (400, False)


def paint_noise(noise: bytes) -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (300, 300), noise).save(file, "JPEG", quality=95)
    return file.getvalue()


def make_bomb() -> bytes:
    """Returns a PNG of a few kilobytes that claims to be of 400 megapixels."""
    rows = zlib.compress(bytes(20_000 // 8 + 1) * 20_000, 9)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + checksum

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


NOISE = random.Random(1).randbytes(300 * 300 * 3)  # noqa: S311
HOSTILE = {
    "a bomb": (make_bomb(), "over 100,000,000"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "not a picture"),
    "HTML as JPEG": (b"<html><script>alert(1)</script></html>", "not a picture"),
    "truncated": (paint_noise(NOISE)[:20_000], "cannot be decoded"),
    "nothing": (b"", "none was sent"),
    "too large": (b"\xff\xd8\xff" + bytes(5_000_001), "larger than 5 MB"),
}


@pytest.mark.parametrize(("picture", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_picture_is_refused_in_words(
    sites: tuple[Site, Site], picture: bytes, reason: str
) -> None:
    site, _ = sites
    response = send(site, picture)
    assert response.status_code == 400
    assert reason in response.json()["reason"]
    # As a page, too, which shows nothing of what was sent.
    shown = send(site, picture, "/search/picture")
    assert (shown.status_code, "alert(1)" in shown.text) == (400, False)
    # The next one is decoded.
    assert captions(send(site, paint(10, 220, 20)).json())[0] == "cucumber"


@pytest.mark.exhaustive
def test_a_photo_of_any_camera_that_is_too_large_is_refused_in_words(
    sites: tuple[Site, Site],
) -> None:
    site, _ = sites
    for is_form in (True, False):
        photo = b"\xff\xd8\xff" + bytes(12_000_000)
        address = f"{site.url}/search/picture.json"
        body: dict[str, Any] = {"files": {"picture": photo}} if is_form else {"data": photo}
        response = requests.post(address, **body, timeout=60)
        assert response.status_code == 400
        assert response.json()["reason"] == "picture: it is larger than 5 MB; make it smaller"
    shown = send(site, photo, "/search/picture")
    assert (shown.status_code, "larger than 5 MB" in shown.text) == (400, True)
    encoded = json.dumps({"image": base64.b64encode(photo).decode()})
    response = requests.post(f"{site.url}/knn-service", data=encoded, timeout=60)
    assert (response.status_code, "larger than 5 MB" in response.text) == (400, True)


def test_what_is_far_too_large_ends_the_connection(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    with suppress(requests.ConnectionError):
        response = send(site, bytes(100_000_000))
        assert response.status_code in {400, 413}
    assert site.get("/about").status_code == 200


def test_a_visitor_who_leaves_in_the_middle_is_no_bug(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    address = urlsplit(site.url)
    left = 'laion_requests_total{page="search_picture"'

    def count(line: str) -> float:
        found = [one for one in site.get("/metrics").text.splitlines() if one.startswith(line)]
        return sum(float(one.rpartition(" ")[2]) for one in found)

    before = count(left)
    with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
        head = "POST /search/picture HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"a" * 100)
    while count(left) == before:
        time.sleep(0.05)
    assert 'status="500"' not in site.get("/metrics").text


def test_another_site_cannot_send_a_picture(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    response = site.post("/search/picture", origin="https://evil.test")
    assert response.status_code == 403
    broken = {"content-type": "multipart/form-data"}
    assert requests.post(f"{site.url}/search/picture", b"x", headers=broken, timeout=20).ok is False


def test_a_picture_is_sent_from_the_browser(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Search with a picture").click()
    file = FilePayload(name="sky.png", mimeType="image/png", buffer=paint(20, 60, 250))
    page.get_by_label("Picture, up to 5 MB").set_input_files(file)
    page.get_by_role("main").get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Images like your picture")
    expect(page.locator(".images .caption").first).to_contain_text("sky")
    first = page.locator(".images .caption").all_text_contents()
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".pager span")).to_have_text("Page 2 of 3")
    assert not set(page.locator(".images .caption").all_text_contents()) & set(first)
    page.get_by_role("button", name="Previous").click()
    expect(page.locator(".pager span")).to_have_text("Page 1 of 2")
    assert page.locator(".images .caption").all_text_contents() == first


@pytest.mark.exhaustive
def test_no_button_loses_the_picture_that_was_sent(page: Page) -> None:
    page.goto("/search/picture")
    file = FilePayload(name="red.png", mimeType="image/png", buffer=paint(255, 20, 20))
    page.get_by_label("Picture, up to 5 MB").set_input_files(file)
    main = page.get_by_role("main")
    main.get_by_role("button", name="Search").click()
    heading, found = page.get_by_role("heading", level=1), page.locator(".images .caption")
    expect(found.first).to_have_text("tomato")
    expect(main).not_to_contain_text("cherry")
    main.get_by_role("button", name="Show 1 hidden").click()
    expect(heading).to_contain_text("Images like your picture")
    expect(found.nth(1)).to_have_text("cherry")
    main.get_by_role("button", name="Fold repeats").click()
    expect(heading).to_contain_text("Images like your picture")
    expect(main).not_to_contain_text("cherry")
    main.get_by_role("button", name="Show repeats").click()
    expect(found.nth(1)).to_have_text("cherry")
    # Turned on for all pages, and back to what was found.
    main.get_by_role("button", name="Show pictures").click()
    expect(heading).to_contain_text("Images like your picture")
    expect(found.nth(1)).to_have_text("cherry")
    main.get_by_role("button", name="Hide pictures").click()
    main.get_by_role("button", name="Hide unsafe").click()
    expect(found.first).to_have_text("tomato")
    expect(main).not_to_contain_text("cherry")
