"""Real requests to servers on loopback; `Names` stands for DNS."""

import io
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest
from PIL import Image

from laion_assets.pictures.fetching.fetch_pictures import fetch_pictures
from laion_assets.pictures.fetching.rules import FetchRules, Reason, SizeRules
from laion_assets.removals.entries import read_entry
from laion_assets.removals.matching import Matcher
from laion_assets.stores.picture_cache import FetchedPicture
from laion_assets.stores.removal_file import Removals
from laion_assets_tests.servers.picture_server import (
    ADDRESS,
    Names,
    PictureServer,
    picture,
    send,
    serve_pictures,
    status,
)

pytestmark = pytest.mark.slow

RULES = FetchRules(
    "somebody@example.org",
    time_s=5,
    backoff_s=0.01,
    decoders=1,
    allowed_networks=(ip_network(f"{ADDRESS}/32"),),
)


def draw(width: int = 40, height: int = 30, kind: str = "JPEG") -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serve_pictures() as served:
        served.answers["/1.jpg"] = picture(draw())
        yield served


def run(
    urls: Iterable[str], rules: FetchRules = RULES, names: Names | None = None
) -> dict[str, FetchedPicture]:
    """Fetches, and returns what became of each URL."""
    results: list[FetchedPicture] = []
    fetch_pictures(urls, rules, results.extend, names or Names())
    assert len({result.url for result in results}) == len(results)
    return {result.url: result for result in results}


def run_one(url: str, rules: FetchRules = RULES, names: Names | None = None) -> FetchedPicture:
    """Fetches one URL."""
    return run([url], rules, names)[url]


def test_a_picture_is_fetched_and_known(server: PictureServer) -> None:
    result = run_one(server.url("/1.jpg"))

    assert (result.reason, result.status, result.http_status) == (None, "success", 200)
    assert result.received_bytes == len(draw())
    assert result.final_url == server.url("/1.jpg")
    assert result.picture is not None
    with Image.open(io.BytesIO(result.picture)) as image:
        assert (image.format, image.size) == ("JPEG", (40, 30))


@pytest.mark.exhaustive
def test_a_server_is_told_who_asks_and_whom_to_write_to(server: PictureServer) -> None:
    run_one(server.url("/1.jpg"))

    assert server.asked == ["a.test/robots.txt", "a.test/1.jpg"]
    for head in server.heads:
        assert "User-Agent: laion-assets (+somebody@example.org)\r\n" in head
        assert "Cookie" not in head


@pytest.mark.exhaustive
def test_robots_txt_is_asked_for_once_a_host(server: PictureServer) -> None:
    robots = b"User-agent: *\nDisallow: /private/"
    server.answers["a.test/robots.txt"] = status(200, body=robots)
    urls = [server.url(f"/private/{n}.jpg") for n in range(20)]
    urls += [server.url("/1.jpg"), server.url("/1.jpg", host="b.test")]

    results = run(urls)

    assert {results[url].reason for url in urls[:20]} == {Reason.ROBOTS_TXT.value}
    assert {results[url].reason for url in urls[20:]} == {None}
    assert sorted(server.asked) == sorted(
        ["a.test/robots.txt", "a.test/1.jpg", "b.test/robots.txt", "b.test/1.jpg"]
    )


def test_a_robots_txt_that_fails_forbids_everything(server: PictureServer) -> None:
    server.answers["/robots.txt"] = status(500)

    result = run_one(server.url("/1.jpg"))

    assert (result.reason, result.is_passing) == (Reason.ROBOTS_UNREACHABLE.value, True)
    assert "a.test/1.jpg" not in server.asked


def test_a_robots_txt_may_be_elsewhere(server: PictureServer) -> None:
    server.answers["a.test/robots.txt"] = status(301, f"Location: {server.url('/r', 'b.test')}")
    server.answers["/r"] = status(200, body=b"User-agent: *\nDisallow: /")

    assert run_one(server.url("/1.jpg")).reason == Reason.ROBOTS_TXT.value


def test_an_endless_robots_txt_is_cut_off(server: PictureServer) -> None:
    endless = send(b"HTTP/1.1 200 OK\r\n\r\nUser-agent: *\nDisallow: /\n", *[b"#" * 99_999] * 99)
    server.answers["/robots.txt"] = endless

    assert run_one(server.url("/1.jpg")).reason == Reason.ROBOTS_TXT.value


@pytest.mark.parametrize("header", ["X-Robots-Tag: noai", "tdm-reservation: 1"])
def test_a_host_that_opts_out_twice_is_not_asked_again(server: PictureServer, header: str) -> None:
    urls = [server.url(f"/{n}.jpg") for n in range(10)]
    server.answers |= {f"/{n}.jpg": picture(draw(), header) for n in range(10)}

    results = run(urls, replace(RULES, connections_per_host=1))

    assert [results[url].reason for url in urls[:2]] == [Reason.OPTED_OUT.value] * 2
    assert {results[url].reason for url in urls[2:]} == {Reason.HOST_OPTED_OUT.value}
    assert len(server.asked) == 3
    assert not any(result.is_passing for result in results.values())


def test_a_host_has_few_requests_at_once(server: PictureServer) -> None:
    slow = send(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(draw()), draw(), pause_s=0.02
    )
    server.answers |= {f"/{n}.jpg": slow for n in range(20)}

    results = run([server.url(f"/{n}.jpg", h) for n in range(20) for h in ("a.test", "b.test")])

    assert {result.reason for result in results.values()} == {None}
    assert max(server.at_once.values()) <= 2


@pytest.mark.exhaustive
def test_a_busy_server_is_asked_again_when_it_says(server: PictureServer) -> None:
    server.answers["/1.jpg"] = [status(429, "Retry-After: 1"), picture(draw())]
    began = time.monotonic()

    result = run_one(server.url("/1.jpg"))

    assert result.reason is None
    assert time.monotonic() - began >= 1
    assert server.asked.count("a.test/1.jpg") == 2


def test_a_server_that_asks_to_come_back_much_later_is_left_alone(server: PictureServer) -> None:
    urls = [server.url(f"/{n}") for n in range(10)]
    server.answers |= {f"/{n}": status(503, "Retry-After: 3600") for n in range(10)}

    results = run(urls, replace(RULES, connections_per_host=1))

    assert results[urls[0]].http_status == 503
    assert {results[url].reason for url in urls[1:]} == {Reason.HOST_DOWN.value}
    assert all(result.is_passing for result in results.values())
    assert len(server.asked) == 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("code", [408, 425, 500, 502, 503, 504, 507, 521, 530])
def test_what_may_pass_is_tried_again(server: PictureServer, code: int) -> None:
    server.answers["/1.jpg"] = [status(code), status(code), picture(draw())]

    assert run_one(server.url("/1.jpg")).reason is None


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451, 501, 505])
def test_what_cannot_pass_is_asked_for_once(server: PictureServer, code: int) -> None:
    server.answers["/1.jpg"] = status(code)

    result = run_one(server.url("/1.jpg"))

    assert (result.reason, result.http_status, result.is_passing) == (
        Reason.HTTP.value,
        code,
        False,
    )
    assert server.asked.count("a.test/1.jpg") == 1


def test_a_denied_host_is_not_even_looked_up(server: PictureServer) -> None:
    rules = replace(RULES, denied_hosts=frozenset({"a.test"}))

    assert run_one(server.url("/1.jpg", "x.a.test"), rules).reason == Reason.DENIED_HOST.value
    assert not server.asked


def test_what_is_on_the_list_of_removals_is_not_asked_for(server: PictureServer) -> None:
    server.answers["/2.jpg"] = status(302, "Location: /1.jpg")
    server.answers["/3.jpg"] = status(302, f"Location: {server.url('/4.jpg', 'gone.test')}")
    entries = [read_entry(1, server.url("/1.jpg")), read_entry(2, "*.gone.test")]
    matcher = Matcher.of(Removals(entries=tuple(filter(None, entries))))

    for url in (*map(server.url, ("/1.jpg", "/2.jpg", "/3.jpg")), server.url("/5", "x.gone.test")):
        result = run_one(url, replace(RULES, removed=matcher))
        assert (result.reason, result.picture) == (Reason.DENIED_HOST.value, None)
    asked = [place for place in server.asked if "robots" not in place]
    assert asked == ["a.test/2.jpg", "a.test/3.jpg"]


@pytest.mark.parametrize(
    "url",
    ["ftp://a.test/1", "file:///etc/passwd", "data:image/png;base64,AA", "x", "http://", "//a"],
)
def test_only_the_web_is_asked(url: str) -> None:
    result = run_one(url)

    assert (result.reason, result.is_passing) == (Reason.BAD_URL.value, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost.test", "169.254.169.254"])
def test_no_address_of_this_machine_or_network_is_asked(host: str) -> None:
    with serve_pictures("127.0.0.1") as private:
        private.answers["/1.jpg"] = picture(draw())

        names = Names({"localhost.test": "127.0.0.1"})
        result = run_one(f"http://{host}:{private.port}/1.jpg", names=names)

    assert result.reason == Reason.PRIVATE_ADDRESS.value
    assert not private.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "inside.test", "2130706433"])
def test_no_redirect_leads_to_this_machine(server: PictureServer, host: str) -> None:
    with serve_pictures("127.0.0.1") as private:
        private.answers["/1.jpg"] = picture(draw())
        server.answers["/1.jpg"] = status(302, f"Location: http://{host}:{private.port}/1.jpg")

        result = run_one(server.url("/1.jpg"), names=Names({"inside.test": "127.0.0.1"}))

    assert result.reason in {Reason.PRIVATE_ADDRESS.value, Reason.BAD_URL.value}
    assert not private.asked


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://a.test/", "http://[", ""])
def test_a_redirect_leads_to_the_web(server: PictureServer, location: str) -> None:
    server.answers["/1.jpg"] = status(302, f"Location: {location}")

    assert run_one(server.url("/1.jpg")).reason in {Reason.BAD_URL.value, Reason.HTTP.value}


def test_redirects_are_followed_and_end(server: PictureServer) -> None:
    server.answers["/0"] = status(301, f"Location: {server.url('/1.jpg', 'b.test')}")
    server.answers["/loop"] = status(302, "Location: /loop")

    results = run([server.url("/0"), server.url("/loop")])

    assert results[server.url("/0")].final_url == server.url("/1.jpg", "b.test")
    assert results[server.url("/loop")].reason == Reason.TOO_MANY_REDIRECTS.value
    assert server.asked.count("a.test/loop") == 6


def test_a_redirect_obeys_the_robots_txt_of_its_target(server: PictureServer) -> None:
    server.answers["/0"] = status(301, f"Location: {server.url('/1.jpg', 'b.test')}")
    server.answers["b.test/robots.txt"] = status(200, body=b"User-agent: *\nDisallow: /")

    assert run_one(server.url("/0")).reason == Reason.ROBOTS_TXT.value


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_picture_that_is_too_large_is_not_read(
    server: PictureServer,
    is_announced: bool,
) -> None:
    length = b"Content-Length: 99999999999\r\n" if is_announced else b""
    endless = send(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n", *[b"\xff" * 100_000] * 500)
    server.answers["/1.jpg"] = endless

    result = run_one(server.url("/1.jpg"), replace(RULES, max_bytes=200_000))

    assert (result.reason, result.is_passing) == (Reason.TOO_LARGE.value, False)


@pytest.mark.parametrize(
    "answer",
    [
        send(then_wait=True),
        send(b"HTTP/1.1 200 OK\r\n", then_wait=True),
        send(b"HTTP/1.1 200 OK\r\n\r\n", *[b"\xff"] * 1000, pause_s=0.05),
        send(b"HTTP/1.1 200 OK\r\n", *[b"A: b\r\n"] * 1000, pause_s=0.05),
    ],
    ids=["silent", "half a head", "a dripping body", "dripping headers"],
)
def test_every_request_has_a_deadline(server: PictureServer, answer: object) -> None:
    server.answers["/1.jpg"] = answer  # type: ignore[assignment]

    result = run_one(server.url("/1.jpg"), replace(RULES, time_s=0.5))

    assert result.is_passing or result.reason == Reason.BAD_RESPONSE.value
    assert result.seconds < 5


@pytest.mark.parametrize(
    "answer",
    [
        send(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"),
        send(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n"),
        send(b"no HTTP at all\r\n\r\n"),
        send(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    ],
    ids=["a long header", "many headers", "no HTTP", "no length"],
)
def test_a_response_that_is_none_is_refused(server: PictureServer, answer: object) -> None:
    server.answers["/1.jpg"] = answer  # type: ignore[assignment]

    assert run_one(server.url("/1.jpg")).reason == Reason.BAD_RESPONSE.value


def test_a_cut_off_picture_is_no_picture(server: PictureServer) -> None:
    data = draw()
    server.answers["/1.jpg"] = send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + data[:99])

    result = run_one(server.url("/1.jpg"))

    assert result.picture is None
    assert result.reason in {Reason.CONNECTION.value, Reason.BAD_RESPONSE.value}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "body", [b"", b"<html>not found</html>", b"<svg xmlns='x'/>", draw()[:200], b"\xff\xd8\xff" * 9]
)
def test_what_is_no_picture_is_refused(server: PictureServer, body: bytes) -> None:
    server.answers["/1.jpg"] = picture(body)

    result = run_one(server.url("/1.jpg"))

    assert (result.reason, result.status) == (Reason.NOT_A_PICTURE.value, "failed_to_resize")


@pytest.mark.exhaustive
def test_a_bomb_does_no_harm(server: PictureServer) -> None:
    rules = replace(RULES, sizes=SizeRules(max_pixels=1_000_000))
    server.answers["/1.jpg"] = picture(draw(5000, 5000, "PNG"))

    result = run_one(server.url("/1.jpg"), rules)

    assert (result.reason, result.message) == (
        Reason.TOO_MANY_PIXELS.value,
        "5000 x 5000 pixels, over 1,000,000",
    )


def test_a_decoder_that_takes_too_long_dies_alone(server: PictureServer) -> None:
    slow = replace(RULES, sizes=SizeRules(max_seconds=0.2))
    server.answers["/large.png"] = picture(draw(9000, 9000, "PNG"))
    urls = [server.url("/large.png"), server.url("/1.jpg")]

    results = run(urls, slow)

    assert results[urls[0]].reason == Reason.DECODER_DIED.value
    assert results[urls[1]].reason is None


def test_a_host_without_an_address_is_no_dead_link() -> None:
    """A name server that has too much to do answers as if there were no such name."""
    again = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    result = run_one("http://a.test/1.jpg", names=Names({"a.test": again}))

    assert (result.reason, result.is_passing) == (Reason.DNS.value, True)


@pytest.mark.exhaustive
def test_a_host_that_is_down_is_given_up(server: PictureServer) -> None:
    with serve_pictures() as closed:
        port = closed.port
    urls = [f"http://down.test:{port}/{n}.jpg" for n in range(200)]

    results = run([*urls, server.url("/1.jpg")])

    reasons = [results[url].reason for url in urls]
    assert set(reasons) == {Reason.CONNECTION.value, Reason.HOST_DOWN.value}
    assert reasons.count(Reason.HOST_DOWN.value) > 150
    assert results[server.url("/1.jpg")].reason is None


def test_one_address_is_asked_once_at_a_time(server: PictureServer) -> None:
    url = server.url("/1.jpg")

    run([url] * 50)

    assert server.asked.count("a.test/1.jpg") == 1


@pytest.mark.exhaustive
def test_a_failure_of_whoever_keeps_the_results_ends_the_fetch(server: PictureServer) -> None:
    def keep(_results: list[FetchedPicture]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fetch_pictures([server.url("/1.jpg")], RULES, keep, Names())


@pytest.mark.exhaustive
def test_a_good_host_is_done_beside_all_kinds_of_bad_ones(server: PictureServer) -> None:
    rules = replace(RULES, time_s=1)
    bad = {
        "silent": send(then_wait=True),
        "drip": send(b"HTTP/1.1 200 OK\r\n\r\n", *[b"\xff"] * 1000, pause_s=0.05),
        "gone": status(404),
        "busy": status(429, "Retry-After: 99"),
        "loop": status(302, "Location: /1.jpg"),
        "html": picture(b"<html>"),
    }
    server.answers |= {f"{host}.test/{n}.jpg": a for host, a in bad.items() for n in range(30)}
    server.answers |= {f"good.test/{n}.jpg": picture(draw()) for n in range(100)}
    urls = [server.url(f"/{n}.jpg", f"{host}.test") for host in bad for n in range(30)]
    good = [server.url(f"/{n}.jpg", "good.test") for n in range(100)]

    results = run([*urls, *good], rules)

    assert len(results) == 280
    assert {results[url].reason for url in good} == {None}
    assert {results[url].picture for url in urls} == {None}
