import csv
import io
import json
import re
import shutil
import threading
import time
from html import unescape
from itertools import chain
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow.parquet as pq
import pytest
import requests
from pydantic import TypeAdapter

from laion_assets import project
from laion_assets.operations.traces import remove_traces
from laion_assets.raw_shards.samples import SAMPLE_METADATA
from laion_assets.releases.cleanup import delete_release
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawStore
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets.web.limits import Limits
from laion_assets.web.pages import PAGES
from laion_assets.web.visit import Page
from laion_assets_tests.pipeline import copy, load, refresh
from laion_assets_tests.raises import raises
from laion_assets_tests.web.conftest import (
    FORMULA,
    HOSTILE,
    LONG,
    LONG_HOST,
    NAMES,
    ODD_HOSTS,
    PINS,
    Released,
    ingest,
    make_settings,
    write_shard,
)
from laion_assets_tests.web.site import Site, run_site

# One address of each page.
ADDRESSES = {
    "home": "/index",
    "search": "/search?q=fox",
    "picture": "/search/picture",
    "image": "/images/beta/3",
    "domains": "/domains",
    "domain": "/domains/zoo.test",
    "sites": "/sites",
    "site": "/sites/zoo.test",
    "compare": "/compare?q=fox&q=lemur",
    "lookup": "/lookup?url=zoo.test",
    "names": "/names/artists",
    "name": "/names/artists/Ana%20Fox",
    "releases": "/releases",
    "release": "/releases/{release}",
    "about": "/about",
}


def with_suffix(address: str, suffix: str) -> str:
    path, mark, query = address.partition("?")
    return path + suffix + mark + query


def read_json(site: Site, address: str) -> dict[str, object]:
    response = site.get(address)
    assert response.status_code == 200, response.text
    return TypeAdapter(dict[str, object]).validate_json(response.content)


def list_captions(site: Site, address: str) -> list[str]:
    return [image["caption"] for image in site.get(address).json()["images"]]


def read_csv(response: requests.Response) -> list[dict[str, str]]:
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))


def test_there_is_an_address_of_every_page() -> None:
    assert {page.name for page in PAGES} == set(ADDRESSES)


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_page_is_html_and_json_of_the_release(released: Released, name: str) -> None:
    address = ADDRESSES[name].format(release=released.release)

    html = released.site.get(address)
    answer = read_json(released.site, with_suffix(address, ".json"))

    assert html.status_code == 200
    assert html.text.startswith("<!doctype html>")
    assert released.release in html.text
    assert answer["release"] == released.release


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_openapi_document_fits_what_is_served(released: Released, page: Page) -> None:
    document = released.site.get("/openapi.json").json()
    (operation,) = (
        (path, methods["get"])
        for path, methods in document["paths"].items()
        if methods.get("get", {}).get("operationId") == page.name
    )
    address = ADDRESSES[page.name].format(release=released.release)
    answer = read_json(released.site, with_suffix(address, ".json"))
    reference = operation[1]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]

    assert re.fullmatch(
        re.sub(r"{\w+}", "[^/]+", operation[0]), with_suffix(address, ".json").split("?")[0]
    )
    assert set(answer) == set(schema["properties"])


def test_the_home_page_has_the_figures(site: Site) -> None:
    home = site.get("/index.json").json()

    assert home["image_count"] == len(HOSTILE) + 91 + len(ODD_HOSTS) + len(PINS)
    assert (home["shard_count"], home["domain_count"]) == (4, 34 + len(ODD_HOSTS))
    assert home["site_count"] == len(site.get("/sites.ndjson").text.splitlines())
    assert home["top_sites"][0] == {"name": "zoo.test", "image_count": len(HOSTILE)}
    assert home["name_counts"] == {"artists": 2, "characters": 6}
    assert home["top_domains"][0] == {"name": "zoo.test", "image_count": len(HOSTILE)}
    assert home["top_names"]["artists"][0] == {"name": "Ana Fox", "image_count": 90}


def test_every_page_can_be_linked_to_and_together_they_have_all(site: Site) -> None:
    found = [list_captions(site, f"/search.json?q=fox&page={page}") for page in range(1, 6)]

    assert [len(captions) for captions in found] == [20, 20, 20, 20, 10]
    assert len(set(chain.from_iterable(found))) == 90
    assert read_json(site, "/search.json?q=fox&page=2")["page_count"] == 5


def test_images_are_sorted_by_aesthetic_score_those_without_it_last(site: Site) -> None:
    captions = list_captions(site, "/search.json?q=lemur&sort=aesthetic")

    assert captions[0] == LONG
    assert captions[-1] == FORMULA


def test_images_that_are_probably_unsafe_are_hidden_until_asked_for(site: Site) -> None:
    unsafe = "an unsafe lemur"

    assert unsafe not in list_captions(site, "/search.json?q=lemur")
    assert unsafe not in list_captions(site, "/domains/zoo.test.json")
    assert unsafe in list_captions(site, "/search.json?q=lemur&max_punsafe=1")
    assert unsafe in list_captions(site, "/domains/zoo.test.json?max_punsafe=1")
    assert LONG in list_captions(site, "/search.json?q=lemur"), "its score is not known"
    assert list_captions(site, "/domains/zoo.test.json?max_punsafe=0") == list_captions(
        site, "/search.json?domain=zoo.test&max_punsafe=0"
    )
    assert unsafe not in site.get("/images/alpha/4").text
    assert unsafe not in site.get("/images/alpha/4.json").text
    assert unsafe in site.get("/images/alpha/4?max_punsafe=1").text


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ("q=fox&domain=HOST3.test", 3),
        ("q=fox&shard=alpha", 0),
        ("q=fox&min_aesthetic=8", 10),
        ("q=fox&min_width=185&min_height=200", 5),
        ("q=%22ana+fox%22&min_width=", 90),
        ("domain=zoo.test", 6),
        ("shard=beta&min_aesthetic=8", 10),
        ("q=dragon", 0),
        ("q=%00", 0),
        ("", 0),
    ],
)
def test_a_search_is_filtered(site: Site, parameters: str, count: int) -> None:
    assert read_json(site, f"/search.json?{parameters}")["total"] == count


def test_an_image_says_where_it_came_from(released: Released) -> None:
    manifest = released.site.get(f"/releases/{released.release}.json").json()["manifest"]
    image = released.site.get("/images/beta/3.json").json()

    assert list(image["fields"])[:3] == ["url", "domain", "registered_domain"]
    is_known = [value is not None for value in image["fields"].values()]
    assert is_known == sorted(is_known, reverse=True), "what is not known is last"
    assert image["fields"]["url"] == "https://host3.test/3.jpg"
    assert image["source"] == "beta.parquet", "folders are private"
    assert image["source_sha256"] == manifest["shards"][1]["sha256"]
    assert image["image"]["image_id"] == image["fields"]["image_id"]
    assert str(released.settings.data_dir) not in json.dumps(manifest)


def test_a_long_host_is_broken_after_its_dots(site: Site) -> None:
    page = site.get("/domains?containing=long.long").text

    assert f">{LONG_HOST.replace('.', '.<wbr>')}</a>" in page
    assert ">&lt;b&gt;Bold&lt;/b&gt;</a>" in site.get("/names/characters").text


def test_domains_and_names_are_sorted_searched_and_paged(site: Site) -> None:
    hosts = site.get("/domains.json?containing=HOST1&sort=name").json()["counts"]
    names = site.get("/names/characters.json?sort=name&containing=b").json()

    assert [row["name"] for row in hosts][:3] == ["host1.test", "host10.test", "host11.test"]
    assert [row["name"] for row in names["counts"]] == ["<b>Bold</b>"]
    assert site.get("/domains?page=2").status_code == 404
    assert site.get("/domains?page=0").status_code == 400


@pytest.mark.parametrize("name", NAMES["characters"])
def test_a_name_may_have_any_sign(site: Site, name: str) -> None:
    links = re.findall(r'href="(/names/characters/.+?)"', site.get("/names/characters").text)
    (link,) = (link for link in links if unquote(link.removesuffix(".html")).endswith(f"/{name}"))
    page = site.get(link)
    (form,) = re.findall(r'href="(/names/characters/.+?\.json)"', page.text)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<b>Bold" not in page.text
    assert site.get(form).json()["name"] == name


def test_a_host_may_be_longer_than_any_that_there_is(site: Site) -> None:
    assert site.get(f"/domains/{LONG_HOST}.json").json()["image_count"] == 1
    assert list_captions(site, f"/search.json?domain={LONG_HOST}") == ["a bird"]


@pytest.mark.parametrize("host", ODD_HOSTS, ids=repr)
def test_a_host_may_have_any_sign(site: Site, host: str) -> None:
    captions = [f"an odd host {host!r}"]
    links = re.findall(r'href="/domains/(.+?)"', site.get("/domains?containing=").text)
    (link,) = (link for link in links if unquote(link.removesuffix(".html")) == host)
    page = site.get(f"/domains/{link}")
    (form,) = re.findall(r'href="(/domains/.+?\.json)"', page.text)

    assert page.status_code == 200
    assert list_captions(site, form) == captions
    assert list_captions(site, f"/search.json?domain={quote(host)}") == captions


def test_lists_are_csv_without_formulas(site: Site) -> None:
    found = read_csv(site.get("/search.csv?q=lemur"))
    domains = read_csv(site.get("/domains.csv?containing=zoo"))

    assert f"'{FORMULA}" in {row["caption"] for row in found}
    assert {row["shard"] for row in found} == {"alpha"}
    assert domains == [{"domain": "zoo.test", "image_count": str(len(HOSTILE))}]
    assert len(read_csv(site.get("/names/artists.csv"))) == 2
    assert (
        site.get("/domains.csv?containing=nothing").content == b"\xef\xbb\xbfdomain,image_count\r\n"
    )
    assert site.get("/about.csv").status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/search?q=" + "x" * 2_001, 400, "q: String should have at most 2000 characters"),
        ("/search?q=fox&page=1000000001", 400, "page: Input should be less than or equal to"),
        ("/search?q=fox&page=6", 404, "5 pages"),
        ("/search?q=fox&min_aesthetic=nan", 400, "min_aesthetic"),
        ("/search?q=fox&sort=best", 400, "sort"),
        (
            "/search?q=fox&colour=red",
            400,
            "unknown parameter 'colour'; this page takes release, domain",
        ),
        ("/about?q=fox", 400, "unknown parameter 'q'; this page takes release"),
        ("/search?q=fox&q=hare", 400, "parameter 'q' is given twice"),
        ("/search?q=fox&release=never", 404, "there is no release 'never'; there are"),
        ("/domains/%00", 404, "no image from"),
        ("/images/beta/90", 404, "no row 90 of shard beta"),
        ("/images/beta/x", 404, "no row x"),
        ("/images/gamma/1", 404, "shard gamma"),
        ("/images/beta/" + "9" * 5_000, 404, "no row"),
        ("/domains/nowhere.test", 404, "no image from nowhere.test"),
        ("/names/robots", 404, "no kind of names"),
        ("/names/artists/Ana", 404, "no name"),
        ("/releases/never", 404, "no release"),
        ("/nowhere", 404, "no page at this address"),
        ("/static/../app.py", 404, "no page"),
        ("/static/%2e%2e/app.py", 404, "no page"),
    ],
)
def test_what_cannot_be_answered_says_why(site: Site, path: str, status: int, reason: str) -> None:
    html = site.get(path)

    assert html.status_code == status
    assert reason.lower() in unescape(html.text).lower()
    assert "Traceback" not in html.text
    if not path.startswith("/static"):
        answer = site.get(with_suffix(path, ".json"))
        assert answer.json()["status"] == status
        assert reason in answer.json()["reason"]


def test_every_answer_is_harmless(site: Site) -> None:
    for path in ("/", "/search.json?q=fox", "/domains.csv", "/nowhere", "/static/style.css"):
        headers = site.get(path, Origin="https://other.test").headers
        policy = headers["content-security-policy"]

        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "img-src 'self';" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["access-control-allow-origin"] == "*"
        assert "set-cookie" not in headers
        assert headers["cache-control"] in {"public, no-cache", "no-store"}


def test_a_program_of_another_page_may_ask_whether_something_is_new(site: Site) -> None:
    wanted = {
        "Origin": "https://other.test",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "if-none-match",
    }
    answer = requests.options(f"{site.url}/search.json", headers=wanted, timeout=20)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "if-none-match" in answer.headers["access-control-allow-headers"].lower()


def test_pictures_are_off_until_the_visitor_turns_them_on(site: Site) -> None:
    address = "/search?q=fox"
    turned_on = site.post(f"/preferences?pictures=on&next={quote(address)}", Origin=site.url)
    cookie = turned_on.headers["set-cookie"].split(";")[0]
    shown = site.get(turned_on.headers["location"], Cookie=cookie)
    turned_off = site.post("/preferences?pictures=off", Cookie=cookie)

    assert "<img" not in site.get(address).text
    assert turned_on.headers["location"] == address
    assert shown.text.count('<img src="https://host') == 20
    assert shown.text.count('referrerpolicy="no-referrer"') == 20
    assert "img-src 'self' https: http:" in shown.headers["content-security-policy"]
    assert 'pictures=""' in turned_off.headers["set-cookie"]


def test_no_link_and_no_picture_has_another_scheme_than_http(site: Site) -> None:
    for path in ("/search?q=ftp", "/images/alpha/5"):
        page = site.get(path, Cookie="pictures=on").text

        assert "<img" not in page
        assert 'href="javascript' not in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        # A form of a page that hides where it is from.
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_cannot_turn_pictures_on(site: Site, headers: dict[str, str]) -> None:
    answer = site.post("/preferences?pictures=on", **headers)

    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("address", ["//evil.test/", "https://evil.test/", "/\\evil.test", ""])
def test_the_way_back_leads_nowhere_else(site: Site, address: str) -> None:
    response = site.post(f"/preferences?pictures=on&next={quote(address)}")

    assert response.headers["location"] == "/"


@pytest.mark.parametrize("path", ["/about/", "/search/?q=fox", "/static", "//evil.test/about/"])
def test_no_answer_repeats_the_host_that_was_asked_for(site: Site, path: str) -> None:
    answer = requests.get(
        site.url + path, headers={"Host": "evil.test"}, timeout=20, allow_redirects=False
    )

    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert "evil.test" not in answer.text


def test_only_what_reads_is_allowed(site: Site) -> None:
    assert site.post("/search").status_code == 405
    assert requests.put(site.url + "/", timeout=20).status_code == 405
    assert site.get("/preferences").status_code == 405


def test_what_a_visitor_has_already_is_not_sent_again(site: Site) -> None:
    first = site.get("/search?q=fox")
    again = site.get("/search?q=fox", **{"If-None-Match": first.headers["etag"]})
    others = site.get(
        "/search?q=fox", **{"If-None-Match": first.headers["etag"], "Cookie": "pictures=on"}
    )

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert others.status_code == 200, "with pictures it is another page"
    assert first.headers["cache-control"] == "public, no-cache"
    assert "cookie" in first.headers["vary"]


@pytest.mark.exhaustive
def test_what_a_visitor_has_of_another_program_is_sent_again(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(LanceStore(released.settings.lance_dir))
    shelf.refresh()
    program = shutil.copytree(project.PACKAGE, tmp_path / "program")
    monkeypatch.setattr(project, "PACKAGE", program)

    def ask(etag: str = "") -> requests.Response:
        with run_site(build_app(shelf)) as site:
            return site.get("/about", **{"If-None-Match": etag})

    first = ask()
    same = ask(first.headers["etag"])
    template = program / "web" / "templates" / "about.html"
    template.write_text(template.read_text() + "<p>New</p>")
    other_page = ask(first.headers["etag"])
    (program / "search" / "search.py").write_text("")
    other_code = ask(other_page.headers["etag"])

    assert first.headers["etag"] == released.site.get("/about").headers["etag"]
    assert [same.status_code, other_page.status_code, other_code.status_code] == [304, 200, 200]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/domains/nowhere.test", 404), ("/search?page=-1", 400), ("/about", 304)],
)
def test_what_is_not_there_is_not_unchanged_either(site: Site, path: str, status: int) -> None:
    etag = site.get("/").headers["etag"]

    for tags in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        assert site.get(path, **{"If-None-Match": tags}).status_code == status
    assert site.get("/about", **{"If-None-Match": etag[:-2] + '"'}).status_code == 200


@pytest.mark.exhaustive
def test_a_new_release_is_shown_without_a_restart_and_no_request_fails(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "laion")
    shelf = Shelf(LanceStore(settings.lance_dir))
    statuses: set[int] = set()
    with run_site(build_app(shelf, refresh_interval_s=0.05)) as site:
        assert site.get("/").status_code == 503
        assert "laion backfill" in site.get("/index.json").json()["reason"]
        ingest(settings, "alpha", [("a fox", "https://a.test/1.jpg", 0.0, 5.0)])
        first = refresh(settings)
        wait_for(site, first)
        etag = site.get("/search?q=fox").headers["etag"]

        is_over = threading.Event()

        def ask() -> None:
            number = 0
            while not is_over.is_set():
                number += 1
                statuses.add(site.get(f"/search.json?q=fox&min_width={number % 50}").status_code)

        visitors = [threading.Thread(target=ask) for _ in range(3)]
        for visitor in visitors:
            visitor.start()
        try:
            ingest(settings, "beta", [("two foxes and a fox", "https://b.test/1.jpg", 0.0, 5.0)])
            second = refresh(settings)
            wait_for(site, second)
        finally:
            is_over.set()
            for visitor in visitors:
                visitor.join()
        changes = site.get("/releases.json").json()["changes"]
        after = site.get("/search?q=fox", **{"If-None-Match": etag})

    assert statuses == {200}
    assert after.status_code == 200, "what the visitor has is of the release before"
    assert (changes["before"], changes["after"]) == (first, second)
    assert changes["shards_added"] == ["beta"]


@pytest.mark.exhaustive
def test_a_release_that_is_deleted_is_no_longer_shown(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "laion")
    ingest(settings, "alpha", [("a fox", "https://a.test/1.jpg", 0.0, 5.0)])
    first = refresh(settings)
    ingest(settings, "beta", [("a fox", "https://b.test/1.jpg", 0.0, 5.0)])
    second = refresh(settings)
    shelf = Shelf(LanceStore(settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf, refresh_interval_s=60)) as site:
        before = site.get("/releases")
        delete_release(LanceStore(settings.lance_dir), first)
        unaware = site.get(f"/releases/{second}")
        shelf.refresh()
        after = site.get("/releases", **{"If-None-Match": before.headers["etag"]})
        gone = site.get(f"/releases/{first}")
        delete_release(LanceStore(settings.lance_dir), second)
        shelf.refresh()
        nothing = site.get("/")

    assert f'/releases/{first}"' in before.text
    assert "no release before it" in unaware.text
    assert str(tmp_path) not in unaware.text
    assert f'/releases/{first}"' not in after.text
    assert (after.status_code, gone.status_code, nothing.status_code) == (200, 404, 503)
    assert nothing.headers["retry-after"]


def wait_for(site: Site, release: str) -> None:
    deadline = time.monotonic() + 20
    while site.get("/about.json").json().get("release") != release:
        assert time.monotonic() < deadline, f"release {release} is not shown"
        time.sleep(0.02)


def test_the_release_that_is_asked_for_is_shown(released: Released) -> None:
    shelf = Shelf(LanceStore(released.settings.lance_dir), released.release)
    shelf.refresh()
    assert shelf.current.manifest.release == released.release
    with raises("page-wanted-release-unknown"):
        Shelf(LanceStore(released.settings.lance_dir), "never").refresh()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (Limits(running=1, per_client=0), 429),
        (Limits(running=1, waiting=0), 503),
        (Limits(running=1, timeout_s=0), 503),
    ],
    ids=["one client asks too much", "all ask too much", "it takes too long"],
)
def test_too_much_is_refused_with_a_page(released: Released, limits: Limits, status: int) -> None:
    shelf = Shelf(LanceStore(released.settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf, limits)) as site:
        refused = [
            site.get("/search?q=fox"),
            site.get("/search.json?q=fox"),
            site.get("/domains.csv"),
        ]

    assert [response.status_code for response in refused] == [status] * 3
    assert all(response.headers["retry-after"] for response in refused)


def mark_as_sample(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(SAMPLE_METADATA), path)


@pytest.mark.exhaustive
def test_every_page_says_that_rows_are_invented_while_they_are_in_the_release(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path / "laion")
    shelf = Shelf(LanceStore(settings.lance_dir))
    own = [("a fox by Ana Fox", "https://zoo.test/1.jpg", 0.0, 5.0)] * 4
    sample = write_shard(settings.data_dir / "shards", "sample", own)
    mark_as_sample(sample)
    load(settings, "sample", sample)
    copy(settings, "sample")
    alone = refresh(settings)
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        home = site.get("/").text
        assert "All rows are invented" in home
        assert "published them" not in home
        assert "invented by <code>laion demo</code>" in site.get("/images/sample/3").text
        assert read_json(site, "/images/sample/3.json")["is_sample"] is True
        ingest(settings, "beta", own)
        mixed = refresh(settings)
        shelf.refresh()
        for address in ADDRESSES.values():
            page = site.get(address.format(release=mixed).removesuffix("index")).text
            assert "1 of the 2 shards is invented" in page, address
        assert "published them" not in site.get("/").text
        assert read_json(site, "/index.json")["sample_shard_count"] == 1
        assert read_json(site, "/images/beta/3.json")["is_sample"] is False
        remove_traces(
            Database(settings.database),
            LanceStore(settings.lance_dir),
            RawStore(settings.raw_dir),
            ["sample"],
        )
        clean = refresh(settings)
        shelf.refresh()
        for address in ADDRESSES.values():
            page = site.get(address.format(release=clean).removesuffix("index")).text
            assert "Sample data" not in page, address
        assert "published them" in site.get("/").text
        assert "sample</a> (sample)" in site.get(f"/releases/{alone}").text


def test_a_search_says_how_many_there_are_and_how_many_are_hidden(site: Site) -> None:
    answer = read_json(site, "/search.json?q=lemur")
    every = read_json(site, "/search.json?q=lemur&max_punsafe=1")

    assert [answer[name] for name in ("total", "hidden", "shown")] == [6, 1, 5]
    assert [every[name] for name in ("total", "hidden", "shown")] == [6, 0, 6]
    heading = re.sub(r"<.+?>|\s+", " ", read_heading(site, "/search?q=lemur&min_width=100"))
    assert " ".join(heading.split()) == (
        "6 images whose caption has lemur , at least 100 pixels wide, 1 of them hidden as unsafe"
    )
    assert "6 images from zoo.test, 1 of them" in read_heading(site, "/search?domain=zoo.test")
    assert "hidden as unsafe" in site.get("/domains/zoo.test").text
    assert "All of them are hidden" in site.get("/search?q=unsafe").text


def read_heading(site: Site, address: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", site.get(address).text, re.DOTALL)
    assert found
    return found[1]


def test_every_column_sorts_from_both_ends(site: Site) -> None:
    def list_widths(address: str) -> list[int]:
        return [image["width"] for image in site.get(address).json()["images"]]

    assert list_widths("/search.json?q=fox&sort=width&page=5") == list(range(109, 99, -1))
    assert list_widths("/search.json?q=fox&sort=area_asc") == list(range(100, 120))
    page = site.get("/search?q=fox&sort=width_asc").text
    assert re.findall('aria-current="true">(.+?)</a></li>', page) == ["width, narrowest first"]


LISTS = {
    "/search?q=lemur&max_punsafe=1": ("laion-lemur-max_punsafe-1", 6),
    "/search?q=fox&page=2": ("laion-fox", 90),
    "/search?domain=zoo.test": ("laion-zoo.test", 5),
    "/domains/zoo.test": ("laion-zoo.test", 5),
    "/names/artists/Ana%20Fox": ("laion-artists-Ana-Fox", 90),
    "/domains": ("laion-domains", 34 + len(ODD_HOSTS)),
    "/names/characters": ("laion-characters", 6),
    "/releases": ("laion-releases", 1),
}


@pytest.mark.parametrize("address", LISTS)
def test_a_list_has_all_rows_in_every_format(released: Released, address: str) -> None:
    name, count = LISTS[address]
    csv_, lines, parquet = (
        released.site.get(with_suffix(address, suffix))
        for suffix in (".csv", ".ndjson", ".parquet")
    )
    rows = [json.loads(line) for line in lines.text.splitlines()]
    table = pq.read_table(io.BytesIO(parquet.content))

    assert len(rows) == count
    assert len(read_csv(csv_)) == table.num_rows == count
    assert [list(row) for row in rows] == [table.schema.names] * count
    for column in set(table.schema.names) - {"released_at"}:
        assert table[column].to_pylist() == pytest.approx([row[column] for row in rows])
    for response, suffix in ((csv_, "csv"), (lines, "ndjson"), (parquet, "parquet")):
        header = response.headers["content-disposition"]
        assert header == f'attachment; filename="{name}-{released.release}.{suffix}"'
    if "image_id" in table.schema.names:
        assert {type(row["image_id"]) for row in rows} == {str}


def test_a_file_is_named_after_words_of_any_script(site: Site) -> None:
    header = site.get("/search.csv?q=狐+%22a%22;").headers["content-disposition"]

    assert header.startswith('attachment; filename="laion-_-a-')
    assert "filename*=UTF-8''laion-%E7%8B%90-a-" in header


def test_a_file_is_named_after_its_filters(site: Site) -> None:
    address = "/search.csv?q=fox&min_width=512&aesthetic=6.5..&sort=width"

    header = site.get(address).headers["content-disposition"]

    assert 'filename="laion-fox-min_width-512-aesthetic-6.5-sort-width-' in header


def test_a_page_says_what_it_did_not_understand_and_what_it_does(site: Site) -> None:
    page = site.get("/search?q=fox+NOT+hare").text

    assert "NOT was searched as a word" in page
    assert site.get("/search.json?q=fox+NOT+hare").json()["notes"][0].startswith("NOT was")
    assert site.get("/search.json?q=fox+site:host3.test&sort=area").json()["total"] == 3
    assert "90 images matching fo*" in " ".join(
        re.sub("<.+?>", "", site.get("/search?q=fo*").text).split()
    )
    assert site.get("/search.json?q=-fox").json()["reason"].startswith("add a word to look for")
    for address in ("/about", "/search"):
        assert 'id="query"' in site.get(address).text
