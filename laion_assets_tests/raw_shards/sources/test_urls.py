"""What is asked of a web server, and what it may answer."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from laion_assets.errors import ShardError
from laion_assets.raw_shards.sources.download import download_url
from laion_assets.raw_shards.sources.source import Source, SourceRules, tell_nobody
from laion_assets.raw_shards.sources.urls import describe_url, read_version
from laion_assets.stores.http_client import parse_retry_after
from laion_assets.stores.part import Part
from laion_assets_tests.servers.file_server import (
    Answer,
    FileServer,
    Serve,
    date,
    redirect,
    run_file_server,
    send,
    stall,
    tag,
)
from laion_assets_tests.servers.google_server import find_closed_port

CONTENT = bytes(range(256)) * 20
PATH = "/x/s.parquet"
SHA256 = "ab" * 32
SECRET = "hf_secret"  # noqa: S105


@pytest.fixture
def part(tmp_path: Path) -> Part:
    return Part(tmp_path, "s")


def download(source: Source, part: Part, rules: SourceRules) -> Source:
    """Downloads what is not known."""
    found = download_url(source, part, rules, None, tell_nobody)
    assert found is not None
    return found


# --- Versions ------------------------------------------------------------------------------------

VERSIONS: dict[str, tuple[Answer, str | None]] = {
    "etag": (Serve(CONTENT), f"etag:{tag(CONTENT)}"),
    "weak etag": (Serve(CONTENT, etag='W/"v1"'), 'etag:W/"v1"'),
    "time": (Serve(CONTENT, etag=""), f"modified:{date()}"),
    "nothing": (Serve(CONTENT, etag="", modified=""), None),
    "linked checksum": (redirect("/nowhere", X_Linked_Etag=f'"{SHA256}"'), f"sha256:{SHA256}"),
    "linked tag that is none": (send(200, X_Linked_Etag='"v1"', ETag='"v2"'), 'etag:"v2"'),
}


@pytest.mark.parametrize("case", VERSIONS)
def test_a_version_is_what_the_server_calls_the_content(
    server: FileServer, rules: SourceRules, case: str
) -> None:
    answer, version = VERSIONS[case]
    source = describe_url(server.put(PATH, answer), None)

    assert read_version(source, rules) == version
    assert server.methods == ["HEAD"]
    assert server.sent_bytes == 0


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_that_does_not_answer_head_is_asked_for_one_byte(
    server: FileServer, rules: SourceRules, status: int
) -> None:
    url = server.put(PATH, send(status), send(206, b"P", ETag='"v1"'))

    assert read_version(describe_url(url, None), rules) == 'etag:"v1"'
    assert server.methods == ["HEAD", "GET"]
    assert server.requests[1].headers["Range"] == "bytes=0-0"


def test_the_version_behind_a_redirect_is_that_of_the_last_server(
    server: FileServer, rules: SourceRules
) -> None:
    server.put("/there", Serve(CONTENT, etag='"v1"'))
    url = server.put(PATH, redirect("/there"))

    assert read_version(describe_url(url, None), rules) == 'etag:"v1"'


@pytest.mark.slow
def test_asking_for_a_version_is_tried_again(server: FileServer, rules: SourceRules) -> None:
    url = server.put(PATH, send(503), stall, Serve(CONTENT, etag='"v1"'))

    # On a busy machine an answer may come too late as well, and is asked for again.
    patient = replace(rules, timeout_s=2, attempts=100)

    assert read_version(describe_url(url, None), patient) == 'etag:"v1"'


def test_a_version_that_cannot_be_asked_is_a_line(server: FileServer, rules: SourceRules) -> None:
    source = describe_url(server.put(PATH, send(404)), None)

    with pytest.raises(ShardError) as refusal:
        read_version(source, rules)

    assert str(refusal.value) == (f"{source.name}: status 404, no such file; correct LAION_SHARDS")
    assert server.methods == ["HEAD"]


# --- Retries -------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named(part: Part, rules: SourceRules) -> None:
    source = describe_url(f"http://127.0.0.1:{find_closed_port()}/s.parquet", None)

    with pytest.raises(ShardError) as refusal:
        download(source, part, rules)

    assert str(refusal.value) == (
        f"{source.name}: no connection; check the network and the link (3 attempts)"
    )


@pytest.mark.exhaustive
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    url = server.put(PATH, send(429, Retry_After="0"), send(503, Retry_After="0"), Serve(CONTENT))

    download(describe_url(url, None), part, rules)

    assert part.path.read_bytes() == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize("retry_after", ["86400", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_nobody_waits_for_a_day(
    server: FileServer, part: Part, rules: SourceRules, retry_after: str
) -> None:
    source = describe_url(server.put(PATH, send(429, Retry_After=retry_after)), None)

    with pytest.raises(ShardError) as refusal:
        download(source, part, rules)

    assert str(refusal.value) == (
        f"{source.name}: status 429, too many requests; try again later (1 attempt)"
    )


def test_a_retry_after_that_means_nothing_is_none() -> None:
    assert [parse_retry_after(text) for text in (None, "soon", "-1", "3")] == [None, None, None, 3]


# --- Redirects, the token and other secrets ------------------------------------------------------


def test_redirects_are_followed_to_another_server(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    with run_file_server() as other:
        other.put("/b", redirect("c?Signature=secret"))
        other.put("/c", Serve(CONTENT))
        server.put("/a", redirect(f"{other.origin}/b", 308))
        url = server.put(PATH, redirect("/a", 307))
        found = download(describe_url(url, None), part, rules)

        assert [request.path for request in other.requests] == ["/b", "/c"]
    assert part.path.read_bytes() == CONTENT
    assert found.name == f"{server.origin}{PATH}"
    assert "secret" not in (part.path.parent / ".s.part-origin").read_text(encoding="utf-8")


def test_the_token_goes_to_the_hub_and_no_further(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    with run_file_server() as stranger:
        stranger.put("/b", redirect(f"{server.origin}/c"))
        server.put("/c", Serve(CONTENT))
        server.put("/a", redirect(f"{stranger.origin}/b"))
        url = server.put(PATH, redirect("/a"))
        download(describe_url(url, None), part, replace(rules, hub_token=SECRET))

        assert ["Authorization" in request.headers for request in stranger.requests] == [False]
    assert [r.headers["Authorization"] for r in server.requests] == [f"Bearer {SECRET}"] * 3


HUBS = {
    "another port": "http://127.0.0.1:1",
    "another name": "http://localhost:{port}",
    "another scheme": "https://127.0.0.1:{port}",
    "a name that begins so": "http://127.0.0.1:{port}.evil.test",
}


@pytest.mark.parametrize("case", HUBS)
def test_the_token_is_for_this_very_host(
    server: FileServer, part: Part, rules: SourceRules, case: str
) -> None:
    hub = HUBS[case].format(port=server.port)
    url = server.put(PATH, Serve(CONTENT))

    download(describe_url(url, None), part, replace(rules, hub_token=SECRET, hub_endpoint=hub))

    assert ["Authorization" in request.headers for request in server.requests] == [False]


def test_the_token_is_in_no_representation_log_or_record(
    server: FileServer, part: Part, rules: SourceRules, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with_token = replace(rules, hub_token=SECRET)
    url = server.put(PATH, Serve(CONTENT, cut_bytes=1000), send(403))

    with pytest.raises(ShardError) as refusal:
        download(describe_url(f"{url}?key=hidden", None), part, with_token)

    record = (part.path.parent / ".s.part-origin").read_text(encoding="utf-8")
    for text in (repr(with_token), str(refusal.value), caplog.text, record):
        assert SECRET not in text
    for text in (str(refusal.value), record):
        assert "hidden" not in text


# --- Going on after a break ----------------------------------------------------------------------

RESUMED = {
    "etag": Serve(CONTENT, modified="", cut_bytes=4000),
    "time": Serve(CONTENT, etag="", cut_bytes=4000),
    "weak etag and time": Serve(CONTENT, etag='W/"v1"', cut_bytes=4000),
    "chunks": Serve(CONTENT, is_chunked=True, cut_bytes=4000),
    "one byte missing": Serve(CONTENT, cut_bytes=len(CONTENT) - 1),
}


@pytest.mark.parametrize("case", RESUMED)
def test_what_came_before_a_break_is_not_asked_for_again(
    server: FileServer, part: Part, rules: SourceRules, case: str
) -> None:
    cut = RESUMED[case]
    source = describe_url(server.put(PATH, cut, replace(cut, cut_bytes=None)), None)

    download(source, part, rules)

    assert part.path.read_bytes() == CONTENT
    assert server.requests[1].headers["Range"] == f"bytes={cut.cut_bytes}-"


NOT_RESUMED = {
    "no validator": Serve(CONTENT, etag="", modified="", cut_bytes=4000),
    "weak etag alone": Serve(CONTENT, etag='W/"v1"', modified="", cut_bytes=4000),
}


@pytest.mark.parametrize("case", NOT_RESUMED)
def test_without_a_word_for_these_bytes_it_begins_anew(
    server: FileServer, part: Part, rules: SourceRules, case: str
) -> None:
    cut = NOT_RESUMED[case]
    source = describe_url(server.put(PATH, cut, replace(cut, cut_bytes=None)), None)

    download(source, part, rules)

    assert part.path.read_bytes() == CONTENT
    assert "Range" not in server.requests[1].headers


def test_a_server_without_ranges_begins_anew(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    cut = Serve(CONTENT, is_ranged=False, cut_bytes=4000)
    source = describe_url(server.put(PATH, cut, replace(cut, cut_bytes=None)), None)

    download(source, part, rules)

    assert part.path.read_bytes() == CONTENT
    assert server.requests[1].headers["Range"] == "bytes=4000-"


@pytest.mark.parametrize("is_dated", [False, True], ids=["etag", "time"])
def test_two_contents_are_never_mixed(
    server: FileServer, part: Part, rules: SourceRules, is_dated: bool
) -> None:
    etag, other = ("" if is_dated else None), CONTENT[::-1]
    first = Serve(CONTENT, etag=etag, cut_bytes=4000)
    second = Serve(other, etag=etag, modified=date(1))
    source = describe_url(server.put(PATH, first, second), None)

    download(source, part, rules)

    assert part.path.read_bytes() == other
    assert server.requests[1].headers["Range"] == "bytes=4000-"


def test_a_server_that_ignores_if_range_mixes_no_contents(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    other = CONTENT[::-1]

    place = f"bytes 4000-{len(other) - 1}/{len(other)}"
    rest_of_another = send(206, other[4000:], ETag='"v2"', Content_Range=place)
    first, last = Serve(CONTENT, etag='"v1"', cut_bytes=4000), Serve(other, etag='"v2"')
    source = describe_url(server.put(PATH, first, rest_of_another, last), None)

    download(source, part, rules)

    assert part.path.read_bytes() == other


def test_a_server_that_does_not_say_how_long_the_whole_is_is_understood(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    place = f"bytes 4000-{len(CONTENT) - 1}/*"
    rest = send(206, CONTENT[4000:], ETag='"v1"', Content_Range=place)
    source = describe_url(server.put(PATH, Serve(CONTENT, etag='"v1"', cut_bytes=4000), rest), None)

    download(source, part, rules)

    assert part.path.read_bytes() == CONTENT


def test_a_download_that_begins_anew_again_and_again_comes_to_an_end(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    whole = Serve(bytes(3_000_000), etag="", modified="")
    cuts = [replace(whole, cut_bytes=n) for n in (2_500_000, 300_000) * 10]
    source = describe_url(server.put(PATH, *cuts), None)

    with pytest.raises(ShardError, match="the connection broke off at byte"):
        download(source, part, rules)

    assert len(server.requests) <= 2 * rules.attempts


def test_the_token_is_sent_whatever_netrc_says(
    server: FileServer,
    part: Part,
    rules: SourceRules,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password word\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    source = describe_url(server.put(PATH, Serve(CONTENT)), None)

    download(source, part, replace(rules, hub_token=SECRET))
    part.remove()
    download(source, part, rules)

    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == [f"Bearer {SECRET}", "Basic bWU6d29yZA=="]


def test_a_part_that_was_complete_is_used(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    source = describe_url(server.put(PATH, Serve(CONTENT)), None)
    first = download(source, part, rules)
    server.requests.clear()

    assert download(source, part, rules) == first
    assert part.path.read_bytes() == CONTENT
    assert [(r.method, r.sent_bytes) for r in server.requests] == [("GET", 0)]


def test_a_part_longer_than_the_file_is_thrown_away(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    serve = Serve(CONTENT, etag='"v1"')
    source = describe_url(server.put(PATH, serve), None)
    download(source, part, rules)
    shorter = replace(serve, content=CONTENT[:1000])
    server.put(PATH, shorter)

    download(source, part, rules)

    assert part.path.read_bytes() == CONTENT[:1000]


WRONG_PARTS = {
    "another place": "bytes 3999-5119/5120",
    "no place": "",
    "another unit": "lines 4000-5119/5120",
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_another_part_than_asked_for_is_not_taken(
    server: FileServer, part: Part, rules: SourceRules, case: str
) -> None:
    wrong = send(206, b"x" * 1120, Content_Range=WRONG_PARTS[case], ETag=tag(CONTENT))
    source = describe_url(server.put(PATH, Serve(CONTENT, cut_bytes=4000), wrong), None)
    server.answers[PATH].append(Serve(CONTENT))

    download(source, part, rules)

    assert part.path.read_bytes() == CONTENT
    assert "Range" not in server.requests[2].headers


def test_a_part_shorter_than_asked_for_is_gone_on_from(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    """Some servers send a few megabytes at most, whatever is asked."""
    short = send(206, CONTENT[4000:5000], Content_Range="bytes 4000-4999/5120", ETag=tag(CONTENT))
    url = server.put(PATH, Serve(CONTENT, cut_bytes=4000), short, Serve(CONTENT))

    download(describe_url(url, None), part, rules)

    assert part.path.read_bytes() == CONTENT
    assert server.requests[2].headers["Range"] == "bytes=5000-"


def test_a_part_of_another_place_is_not_gone_on_from(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    cut = server.put(PATH, Serve(CONTENT, cut_bytes=1000))
    with pytest.raises(ShardError, match="broke off at byte 3,000 of 5,120"):
        download(describe_url(cut, None), part, rules)
    url = server.put("/y/s.parquet", Serve(CONTENT))

    download(describe_url(url, None), part, rules)

    assert "Range" not in server.requests[0].headers
    assert part.path.read_bytes() == CONTENT


def test_a_promise_made_after_the_part_began_is_kept(
    server: FileServer, part: Part, rules: SourceRules
) -> None:
    url = server.put(PATH, Serve(CONTENT, cut_bytes=1000))
    with pytest.raises(ShardError, match="broke off"):
        download(describe_url(url, None), part, rules)
    server.put(PATH, Serve(CONTENT))

    found = download(describe_url(url, SHA256), part, rules)

    assert (found.sha256, found.version) == (SHA256, f"sha256:{SHA256}")


@pytest.mark.parametrize("origin", ["", "{", "[]", '{"name": "x"}'], ids=repr)
def test_a_part_whose_record_is_broken_begins_anew(
    server: FileServer, part: Part, rules: SourceRules, origin: str
) -> None:
    part.path.write_bytes(b"old")
    (part.path.parent / ".s.part-origin").write_text(origin, encoding="utf-8")
    source = describe_url(server.put(PATH, Serve(CONTENT)), None)

    download(source, part, rules)

    assert part.path.read_bytes() == CONTENT
