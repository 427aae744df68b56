"""The site under the command lines of compose.yaml, with visitors; and what Caddy lets through.

`python -m benchmarks.site` does the first for as long as one likes.
"""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from benchmarks.site import FromAddress, Proxy, live, run_caddy
from laion_assets.settings import Settings
from laion_assets_tests.integration.deployment import make_container, read_roles
from laion_assets_tests.integration.web_ui import wait_for
from laion_assets_tests.pipeline import ingest, refresh


@pytest.mark.exhaustive
def test_no_visitor_notices_a_release_a_removal_or_a_restart(tmp_path: Path) -> None:
    report = live(tmp_path / "site", visitors=2, seconds=0)

    assert report.visits.failures == []
    assert set(report.visits.answers) == {200}
    # An answer that shows this row a minute after the list was read is a failure, too.
    assert list(report.visits.removed) == ["person0001"]


# What stands between visitors and the page.

USER, WORD = "operator", "let me in"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Caddy with the Caddyfile before the search page and, for Dagster, before nothing."""
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed here")
    place = make_container(tmp_path_factory.mktemp("proxy") / "site")
    settings = Settings.default(place.root / "data")
    ingest(settings, "a", "a red fox", "a grey fox")
    refresh(settings)
    hashing = [program, "hash-password", "--plaintext", WORD]
    hashed = subprocess.run(hashing, capture_output=True, text=True, check=True).stdout.strip()
    search = read_roles()["search"]
    with search.start(place), run_caddy(place, LAION_LOGIN_HASH=hashed) as proxy:
        wait_for(lambda: search.is_healthy(place), "the search page")
        yield proxy


def test_the_proxy_adds_its_headers_and_doubles_none(proxy: Proxy) -> None:
    answer = requests.get(f"{proxy.site}/search?q=fox", timeout=60)
    assert answer.status_code == 200
    raw = answer.raw.headers
    for name in ("content-security-policy", "x-content-type-options", "strict-transport-security"):
        assert len(raw.getlist(name)) == 1, name
    assert raw["content-security-policy"].startswith("default-src 'none'")
    assert raw["content-encoding"] in ("gzip", "zstd")
    assert "server" not in raw


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_figures_are_for_operators_alone(proxy: Proxy, path: str) -> None:
    assert requests.get(proxy.site + path, timeout=60).status_code == 404
    assert requests.get(proxy.dagster + path, timeout=60).status_code == 401
    assert requests.get(proxy.dagster + path, auth=(USER, WORD), timeout=60).status_code == 200


def test_dagster_is_behind_the_login(proxy: Proxy) -> None:
    for auth in (None, (USER, "a guess"), ("nobody", WORD)):
        assert requests.get(f"{proxy.dagster}/runs", auth=auth, timeout=60).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_other_sites_cannot_use_the_login_of_an_operator(
    proxy: Proxy, headers: dict[str, str]
) -> None:
    address = f"{proxy.dagster}/graphql?query=query"
    answer = requests.get(address, headers=headers, auth=(USER, WORD), timeout=60)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/search/picture", 5_050_000, 400),
        ("/search/picture", 5_200_000, 413),
        ("/preferences", 200_000, 413),
        ("/knn-service", 7_000_000, 413),
    ],
)
def test_the_proxy_refuses_bodies_that_the_page_does_not_take(
    proxy: Proxy, path: str, size: int, status: int
) -> None:
    """Of a picture that is a little too large, the page says itself that it is."""
    answer = requests.post(proxy.site + path, data=b"x" * size, timeout=60)
    assert answer.status_code == status
    assert ("MB" in answer.text) == (status == 400)


def test_requests_per_second_are_counted_for_each_visitor_whatever_it_claims(
    tmp_path: Path,
) -> None:
    """With a limit that any machine reaches; the last one given counts."""
    if shutil.which("caddy") is None:
        pytest.skip("caddy is not installed here")
    place = make_container(tmp_path / "site")
    settings = Settings.default(place.root / "data")
    ingest(settings, "a", "a red fox")
    refresh(settings)
    search = read_roles()["search"]
    slow = replace(search, command=[*search.command, "--requests-per-second=0.001"])
    with slow.start(place), run_caddy(place) as proxy:
        wait_for(lambda: slow.is_healthy(place), "the search page")

        def visit(address: str, claim: str) -> int:
            with requests.Session() as session:
                session.mount("http://", FromAddress(address))
                headers = {"X-Forwarded-For": claim}
                return session.get(f"{proxy.site}/search", headers=headers, timeout=60).status_code

        assert visit("127.0.1.1", "192.0.2.1") == 200
        assert visit("127.0.1.1", "192.0.2.2") == 429
        assert visit("127.0.1.2", "192.0.2.1") == 200
