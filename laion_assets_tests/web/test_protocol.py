"""Requests that are larger than any of ours, each on a connection of its own."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from laion_assets.stores.lance_store import LanceStore
from laion_assets.web import server
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets_tests.web.conftest import Released
from laion_assets_tests.web.site import Site, run_site

MEBIBYTE = 2**20


def send(site: Site, *parts: bytes) -> bytes:
    """Sends the parts and returns all that is answered until the server closes."""
    address = urlsplit(site.url)
    assert address.port is not None
    with socket.create_connection(("127.0.0.1", address.port), timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            # It is closed already, as it has to be.
            pass
        answer = b""
        try:
            while more := connection.recv(65_536):
                answer += more
        except ConnectionError:
            pass
        return answer


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", *[b"a" * 1_000] * 100),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: ", *[b"a" * MEBIBYTE] * 8),
        (b"GET / HTTP/1.1\r\n", *[b"X: y\r\n" * 1_000] * 100),
        (b"GET /", b"a" * MEBIBYTE),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n",),
    ],
    ids=["slow header", "endless header", "endless headers", "endless address", "many headers"],
)
def test_a_head_that_is_too_large_is_refused_and_the_connection_closed(
    site: Site, parts: tuple[bytes, ...]
) -> None:
    assert send(site, *parts).startswith(b"HTTP/1.1 431 ")
    assert site.get("/about").status_code == 200


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
def test_a_body_that_is_too_large_closes_the_connection(site: Site, framing: bytes) -> None:
    head = b"POST /preferences HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n"
    chunk = b"10000\r\n" + b"a" * 65_536 + b"\r\n"

    # The button works without reading a body, so its answer may be the first.
    assert send(site, head, *[chunk] * 64)[:13] in {b"HTTP/1.1 413 ", b"HTTP/1.1 303 "}
    assert site.get("/about").status_code == 200


def test_requests_within_the_limits_share_a_connection(site: Site) -> None:
    one = b"GET /about HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 30_000 + b"\r\n\r\n"
    last = b"GET /about HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    posted = (
        b"POST /preferences HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n" + b"a" * 30_000
    )

    answers = send(site, one * 20 + posted + last)

    assert answers.count(b"HTTP/1.1 200 ") == 21
    assert answers.count(b"HTTP/1.1 303 ") == 1


@contextmanager
def run_anew(released: Released) -> Iterator[Site]:
    """Runs a site of its own, with the limits as they are now."""
    shelf = Shelf(LanceStore(released.settings.lance_dir))
    shelf.refresh()
    with run_site(build_app(shelf)) as site:
        yield site


@pytest.mark.exhaustive
@pytest.mark.parametrize("said", [b"", b"GET /about HTTP/1.1\r\nX: "], ids=["nothing", "half"])
def test_connections_that_ask_for_nothing_make_room(
    released: Released, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    with run_anew(released) as site, ExitStack() as stack:
        address = ("127.0.0.1", urlsplit(site.url).port)
        for _ in range(100):
            idle = stack.enter_context(socket.create_connection(address, timeout=20))
            idle.sendall(said)
            assert site.get("/about.json").status_code == 200


@pytest.mark.slow
def test_who_has_no_connection_is_told_to_come_back(
    released: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    with run_anew(released) as site:
        refused = site.get("/about")

    assert (refused.status_code, refused.text) == (503, "Service Unavailable")
    assert refused.headers["retry-after"]


@pytest.mark.slow
def test_a_connection_that_never_asks_is_closed(
    released: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.1)
    with run_anew(released) as site:
        assert send(site) == b""


def test_a_long_query_of_many_bytes_is_within_the_limits(site: Site) -> None:
    assert site.get("/search.json?q=" + "%F0%9F%A6%8A" * 2_000).status_code == 200
