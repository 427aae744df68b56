"""Sheets from a web server that behaves as Google does, and worse."""

import gzip
import shutil
import ssl
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import MappingProxyType

import dagster as dg
import pytest

from laion_assets.definitions import build_defs
from laion_assets.errors import SheetError
from laion_assets.names.resource import SheetSource
from laion_assets.names.sheet_download import DownloadRules, download_csv, export_url, is_link
from laion_assets.names.sheets import SheetRecord, read_record, refresh_sheet
from laion_assets.runs.backfill import run_job
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets_tests.conftest import WriteShard
from laion_assets_tests.raises import raises
from laion_assets_tests.servers.google_server import (
    CSV,
    HTML,
    SIGN_IN_PAGE,
    Answer,
    GoogleServer,
    drip,
    find_closed_port,
    redirect,
    run_google_server,
    send,
    send_chunks,
    send_csv,
    send_endless,
    send_part,
    send_tagged,
    stall,
    stall_within,
)

# It ends what hangs: nothing that a busy machine answers takes so long.
PATIENCE_S = 60
LINK = "https://docs.google.com/spreadsheets/d/1aB-c_D/edit?gid=7#gid=7"
EXPORT = "/spreadsheets/d/1aB-c_D/export?format=csv&gid=7"
MAX_BYTES = 20_000
# What the kernel may hold on its way to a client that has stopped reading.
SOCKET_BYTES = 20_000_000
SHARE = "share it with anyone who has the link"


@pytest.fixture
def google() -> Iterator[GoogleServer]:
    with run_google_server() as server:
        yield server


@pytest.fixture
def rules(google: GoogleServer) -> DownloadRules:
    """The origin of Google is the server, and all is short."""
    return DownloadRules(
        google_origin=google.origin,
        google_hosts=("127.0.0.1",),
        max_bytes=MAX_BYTES,
        timeout_s=PATIENCE_S,
        deadline_s=2 * PATIENCE_S,
        attempts=3,
        backoff_s=0.01,
    )


def rows(database: Database, kind: str = "artists") -> list[tuple[object, ...]]:
    with database.read() as connection:
        return connection.execute(f'FROM "{kind}"').fetchall()


def records(database: Database) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return connection.execute("FROM sheets").fetchall()


# --- Links ---------------------------------------------------------------------------------------

SHEET = "https://docs.google.com/spreadsheets/d/1aB-c_D"
CSV_OF_SHEET = f"{SHEET}/export?format=csv"
PUBLISHED = "https://docs.google.com/spreadsheets/d/e/2PACX-1v_Q"
CSV_OF_PUBLISHED = f"{PUBLISHED}/pub?output=csv"


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (SHEET, CSV_OF_SHEET),
        (f"{SHEET}/", CSV_OF_SHEET),
        (f"{SHEET}/edit", CSV_OF_SHEET),
        (f"{SHEET}/edit#gid=0", f"{CSV_OF_SHEET}&gid=0"),
        (f"{SHEET}/edit#gid=123", f"{CSV_OF_SHEET}&gid=123"),
        (f"{SHEET}/edit?gid=123", f"{CSV_OF_SHEET}&gid=123"),
        (f"{SHEET}/edit?gid=123#gid=123", f"{CSV_OF_SHEET}&gid=123"),
        (f"{SHEET}/edit?gid=0#gid=123", f"{CSV_OF_SHEET}&gid=123"),
        (f"{SHEET}/edit?gid=5#gid=", f"{CSV_OF_SHEET}&gid=5"),
        (f"{SHEET}/edit#gid=123&range=A1:B10", f"{CSV_OF_SHEET}&gid=123"),
        (f"{SHEET}/edit?pli=1&gid=0#gid=0&fvid=99", f"{CSV_OF_SHEET}&gid=0"),
        (f"{SHEET}/edit?usp=sharing", CSV_OF_SHEET),
        (f"{SHEET}/edit?usp=drive_link", CSV_OF_SHEET),
        (f"{SHEET}/edit?usp=sharing&resourcekey=0-xY", f"{CSV_OF_SHEET}&resourcekey=0-xY"),
        (f"{SHEET}/edit?resourcekey=0-xY#gid=7", f"{CSV_OF_SHEET}&gid=7&resourcekey=0-xY"),
        (f"{SHEET}/view?usp=sharing", CSV_OF_SHEET),
        (f"{SHEET}/htmlview", CSV_OF_SHEET),
        (f"{SHEET}/htmlview?usp=sharing#gid=3", f"{CSV_OF_SHEET}&gid=3"),
        (f"{SHEET}/preview", CSV_OF_SHEET),
        (f"{SHEET}/preview#gid=3", f"{CSV_OF_SHEET}&gid=3"),
        (f"{SHEET}/copy", CSV_OF_SHEET),
        (f"{SHEET}/export?format=csv", CSV_OF_SHEET),
        (f"{SHEET}/export?format=csv&gid=3", f"{CSV_OF_SHEET}&gid=3"),
        (f"{SHEET}/export?gid=3&format=csv", f"{CSV_OF_SHEET}&gid=3"),
        (f"{SHEET}/export?format=xlsx&gid=3", f"{CSV_OF_SHEET}&gid=3"),
        (f"{SHEET}/export?format=pdf", CSV_OF_SHEET),
        (f"{SHEET}/gviz/tq?tqx=out:csv&sheet=A", f"{SHEET}/gviz/tq?tqx=out:csv&sheet=A"),
        (f"{SHEET}/gviz/tq?tqx=out:html&gid=3", f"{CSV_OF_SHEET}&gid=3"),
        (
            "https://docs.google.com/spreadsheets/u/1/d/1aB-c_D/edit#gid=3",
            f"{CSV_OF_SHEET}&gid=3",
        ),
        (
            "https://docs.google.com/a/lab.example.org/spreadsheets/d/1aB-c_D/edit#gid=3",
            f"{CSV_OF_SHEET}&gid=3",
        ),
        (
            "https://docs.google.com/a/example.org/spreadsheets/u/0/d/1aB-c_D/edit",
            CSV_OF_SHEET,
        ),
        ("docs.google.com/spreadsheets/d/1aB-c_D/edit#gid=3", f"{CSV_OF_SHEET}&gid=3"),
        ("http://docs.google.com/spreadsheets/d/1aB-c_D/edit", CSV_OF_SHEET),
        ("https://DOCS.google.com/spreadsheets/d/1aB-c_D/edit", CSV_OF_SHEET),
        (f"{PUBLISHED}/pubhtml", CSV_OF_PUBLISHED),
        (f"{PUBLISHED}/pub?output=csv", CSV_OF_PUBLISHED),
        (f"{PUBLISHED}/pub?output=xlsx", CSV_OF_PUBLISHED),
        (f"{PUBLISHED}/pubhtml?widget=true&headers=false", CSV_OF_PUBLISHED),
        (
            f"{PUBLISHED}/pub?gid=8&single=true&output=csv",
            f"{CSV_OF_PUBLISHED}&single=true&gid=8",
        ),
        (f"{PUBLISHED}/pubhtml?gid=8&single=true", f"{CSV_OF_PUBLISHED}&single=true&gid=8"),
        (f"{PUBLISHED}/pubhtml#gid=8", f"{CSV_OF_PUBLISHED}&single=true&gid=8"),
        (f"{SHEET}/pubhtml?gid=8&single=true", f"{SHEET}/pub?output=csv&single=true&gid=8"),
        (f"{SHEET}/pub?output=csv", f"{SHEET}/pub?output=csv"),
    ],
    ids=lambda value: value.removeprefix("https://docs.google.com/"),
)
def test_every_link_to_a_sheet_becomes_the_csv_of_its_tab(link: str, url: str) -> None:
    assert is_link(link)
    assert export_url(link, DownloadRules()) == url


@pytest.mark.parametrize("link", [LINK, f"  {LINK}\t", LINK.removeprefix("https://")], ids=repr)
def test_a_link_in_the_settings_may_have_blanks_around_it(link: str) -> None:
    location = Settings.from_environment({"LAION_SHEET_ARTISTS": link}).sheets["artists"]

    assert is_link(location)
    assert export_url(location, DownloadRules()) == f"https://docs.google.com{EXPORT}"


@pytest.mark.parametrize(
    "link",
    [
        "https://docs.google.com/document/d/1aB-c_D/edit",
        "https://docs.google.com/forms/d/e/1FAIpQ/viewform",
        "https://docs.google.com/presentation/d/1aB-c_D/edit#slide=id.p",
        "https://docs.google.com/spreadsheets/u/0/",
        "https://docs.google.com/spreadsheets/",
        "https://docs.google.com/",
        "docs.google.com/document/d/1aB-c_D/edit",
        "https://drive.google.com/drive/folders/1aB-c_D?usp=sharing",
        "https://drive.google.com/drive/u/0/my-drive",
        "https://drive.google.com/file/d/1aB-c_D/view?usp=sharing",
        "https://drive.google.com/open?id=1aB-c_D",
    ],
)
def test_a_google_link_to_no_sheet_is_refused(link: str) -> None:
    with pytest.raises(SheetError) as refusal:
        export_url(link, DownloadRules())

    assert (
        str(refusal.value)
        == f"{link}: not a link to a Google sheet; copy the link from the browser"
    )


@pytest.mark.parametrize(
    "link",
    [
        "https://example.org/artists.csv",
        "http://example.org/artists.csv?gid=3#gid=4",
        "https://docs.google.com.example.org/spreadsheets/d/1aB-c_D/edit",
        "https://example.org/spreadsheets/d/1aB-c_D/edit#gid=0",
        "https://drive.google.com/uc?export=download&id=1aB-c_D",
    ],
)
def test_other_links_stay_as_they_are(link: str) -> None:
    assert is_link(link)
    assert export_url(link, DownloadRules()) == link


@pytest.mark.parametrize(
    "location", ["/data/artists.csv", "artists.csv", "data/docs.google.com/x.csv", "C:\\a.csv"]
)
def test_a_path_is_no_link(location: str) -> None:
    assert not is_link(location)


@pytest.mark.parametrize(
    "link",
    [
        "http://[::1/list.csv",
        "http://127.0.0.1:99999/list.csv",
        "http:///list.csv",
        "http://a..b/list.csv",
        f"http://{'a' * 70}.example/list.csv",
        "ftp://127.0.0.1/list.csv",
        "file:///etc/hostname",
        "s3://bucket/list.csv",
    ],
)
def test_a_link_that_is_no_url_is_refused_at_once(link: str) -> None:
    with pytest.raises(SheetError) as refusal:
        download_csv(link, DownloadRules(backoff_s=60))

    assert str(refusal.value) == f"{link}: not a valid URL; correct the link"


# --- What arrives --------------------------------------------------------------------------------


def test_the_export_of_the_tab_is_asked_for(google: GoogleServer, rules: DownloadRules) -> None:
    google.answer(send_csv("A", ETag='"v1"'))

    download = download_csv(LINK, rules)

    assert (download.content, download.etag) == (b"name\r\nA\r\n", '"v1"')
    assert [request.target for request in google.requests] == [EXPORT]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_path_is_followed(
    google: GoogleServer, rules: DownloadRules, status: int
) -> None:
    google.answer(redirect("/export/x/y?user=1", status), send_csv("A"))

    assert download_csv(LINK, rules).content == b"name\r\nA\r\n"
    assert [request.target for request in google.requests] == [EXPORT, "/export/x/y?user=1"]


def test_a_redirect_to_another_host_of_google_is_followed(
    google: GoogleServer, rules: DownloadRules
) -> None:
    google.answer(redirect(f"{google.other_origin}/export/x"), send_csv("A"))

    download = download_csv(LINK, replace(rules, google_hosts=("127.0.0.1", "localhost")))

    assert download.content == b"name\r\nA\r\n"
    assert google.requests[-1].headers["Host"] == f"localhost:{google.port}"


def test_any_other_server_may_redirect_to_any_host(
    google: GoogleServer, rules: DownloadRules
) -> None:
    google.answer(redirect(f"{google.other_origin}/there.csv"), send_csv("A"))
    elsewhere = replace(rules, google_origin="https://docs.google.com")

    assert download_csv(f"{google.origin}/here.csv", elsewhere).content == b"name\r\nA\r\n"
    assert [request.target for request in google.requests] == ["/here.csv", "/there.csv"]


def test_cookies_are_kept_on_the_way(google: GoogleServer, rules: DownloadRules) -> None:
    elsewhere = send(302, b"", {"Location": "/x", "Set-Cookie": "visit=1; Path=/"})
    google.answer(elsewhere, send_csv("A"))

    download_csv(LINK, rules)

    assert google.requests[1].headers["Cookie"] == "visit=1"


@pytest.mark.parametrize(
    "framing", [{"Content-Length": "200000000"}, {}, {"Content-Encoding": "gzip"}], ids=str
)
def test_the_body_of_a_redirect_is_not_read(
    google: GoogleServer, rules: DownloadRules, framing: Mapping[str, str]
) -> None:
    endless = send_endless({**framing, "Location": "/x"}, b"A" * 10_000, status=307)
    google.answer(endless, send_csv("A"))

    assert download_csv(LINK, rules).content == b"name\r\nA\r\n"
    assert google.sent_bytes < SOCKET_BYTES


def test_a_redirect_to_a_path_that_is_not_ascii_is_followed(
    google: GoogleServer, rules: DownloadRules
) -> None:
    google.answer(redirect("/É".encode().decode("latin-1")), send_csv("A"))

    download_csv(LINK, rules)

    assert google.requests[1].target == "/%C3%89"


def test_five_redirects_are_followed(google: GoogleServer, rules: DownloadRules) -> None:
    google.answer(*(redirect(f"/{i}") for i in range(5)), send_csv("A"))

    assert download_csv(LINK, rules).content == b"name\r\nA\r\n"


BODY = b"name\r\nA\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        send(200, BODY),
        send_chunks(b"na", b"me\r\nA", b"\r\n"),
        send(200, gzip.compress(BODY), Content_Encoding="gzip"),
        send_chunks(gzip.compress(BODY), Content_Encoding="gzip"),
        lambda handler: (handler.start(200, CSV), handler.write(BODY)),
        send(200, BODY, {}),
        send(200, BODY, {"Content-Type": "application/octet-stream"}),
    ],
    ids=["length", "chunks", "gzip", "gzip in chunks", "to the end", "no type", "other type"],
)
def test_the_way_it_is_sent_does_not_matter(
    google: GoogleServer, rules: DownloadRules, answer: Answer
) -> None:
    google.answer(answer)

    assert download_csv(LINK, rules).content == BODY


def test_as_many_bytes_as_allowed_arrive(google: GoogleServer, rules: DownloadRules) -> None:
    body = b"name\n" + b"A" * (MAX_BYTES - 5)
    google.answer(send(200, body))

    assert download_csv(LINK, rules).content == body


@pytest.mark.parametrize(
    "text",
    [
        'name,note\nÉmile Zola,"a, ""b""\nc"\n葛飾 北斎,\n',
        '\ufeffname,note\nÉmile Zola,"a, ""b""\nc"\n葛飾 北斎,\n',
        'name,note\r\nÉmile Zola,"a, ""b""\nc"\r\n葛飾 北斎,',
    ],
    ids=["plain", "BOM", "CRLF"],
)
def test_ways_that_google_writes_a_sheet_give_the_same_table(
    google: GoogleServer, rules: DownloadRules, database: Database, text: str
) -> None:
    google.answer(send(200, text.encode()))

    refresh_sheet(database, "artists", LINK, rules)

    assert rows(database) == [("Émile Zola", 'a, "b"\nc'), ("葛飾 北斎", "")]


def test_the_charset_that_the_server_names_does_not_matter(
    google: GoogleServer, rules: DownloadRules, database: Database
) -> None:
    content_type = {"Content-Type": "text/csv; charset=iso-8859-1"}
    google.answer(send(200, "name\nÉmile\n".encode(), content_type))

    refresh_sheet(database, "artists", LINK, rules)

    assert rows(database) == [("Émile",)]


# --- What is known already -----------------------------------------------------------------------


def test_an_unchanged_etag_is_not_sent_again(
    google: GoogleServer, rules: DownloadRules, database: Database
) -> None:
    google.answer(send_tagged('"v1"', send_csv("A", "B", ETag='"v1"')))
    first = refresh_sheet(database, "artists", LINK, rules)
    before = records(database)
    sent_bytes = google.sent_bytes

    second = refresh_sheet(database, "artists", LINK, rules)

    assert (first.is_changed, second.is_changed) == (True, False)
    assert "If-None-Match" not in google.requests[0].headers
    assert google.requests[1].headers["If-None-Match"] == '"v1"'
    assert google.sent_bytes == sent_bytes
    assert rows(database) == [("A",), ("B",)]
    assert records(database) == before


def test_an_unchanged_etag_is_recognised_behind_a_redirect(
    google: GoogleServer, rules: DownloadRules, database: Database
) -> None:
    tagged = send_tagged('W/"v1"', send_csv("A", ETag='W/"v1"'))
    google.answer(redirect("/x"), tagged, redirect("/x"), tagged)

    changes = [refresh_sheet(database, "artists", LINK, rules).is_changed for _ in range(2)]

    assert changes == [True, False]


@pytest.mark.parametrize("etags", [(None, None), ('"v1"', '"v2"'), ('"v1"', None)], ids=str)
def test_the_same_content_is_recognised_whatever_its_etag(
    google: GoogleServer,
    rules: DownloadRules,
    database: Database,
    etags: tuple[str | None, str | None],
) -> None:
    google.answer(*(send_csv("A", **({"ETag": etag} if etag else {})) for etag in etags))
    first = refresh_sheet(database, "artists", LINK, rules)

    second = refresh_sheet(database, "artists", LINK, rules)

    assert second == replace(first, is_changed=False, etag=etags[1])
    assert read_record(database, "artists") == second
    assert rows(database) == [("A",)]


def test_changed_content_replaces_the_table_and_remembers_the_number_of_names(
    google: GoogleServer, rules: DownloadRules, database: Database
) -> None:
    google.answer(
        send_tagged('"v1"', send_csv("A", "B", ETag='"v1"')),
        send_tagged('"v2"', send_csv("C", "A", "B", "A", ETag='"v2"')),
    )
    refresh_sheet(database, "artists", LINK, rules)

    record = refresh_sheet(database, "artists", LINK, rules)

    assert rows(database) == [("C",), ("A",), ("B",)]
    assert (record.is_changed, record.etag) == (True, '"v2"')
    assert (record.previous_count, record.name_count) == (2, 3)
    assert (record.repeated, record.location) == (["A"], LINK)


def test_the_etag_of_another_location_is_not_used(
    google: GoogleServer, rules: DownloadRules, database: Database
) -> None:
    other = LINK.replace("gid=7", "gid=8")
    google.answer(send_tagged('"v1"', send_csv("A", ETag='"v1"')))
    refresh_sheet(database, "artists", LINK, rules)

    record = refresh_sheet(database, "artists", other, rules)

    assert "If-None-Match" not in google.requests[1].headers
    assert (record.location, record.is_changed) == (other, True)


# --- What goes wrong -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """Answers of Google, and what a person is told.

    None for the requests: the server may not have read one before the client gave it up.
    """

    answers: Sequence[Answer]
    message: str
    requests: int | None = 1
    timeout_s: float = PATIENCE_S
    deadline_s: float = 10 * PATIENCE_S


def retried(*answers: Answer, message: str) -> Failure:
    return Failure(answers, f"{message} (3 attempts)", 3)


def given_up(answer: Answer) -> Failure:
    return Failure([answer], f"{SILENT} (3 attempts)", None, timeout_s=1)


def too_slow(answer: Answer) -> Failure:
    return Failure([answer], "not complete after 0.4 s; try again later", None, deadline_s=0.4)


BROKE_OFF = "the connection broke off; check the network and the link"
SILENT = "the server does not answer; try again later"
NO_PAGE = f"a web page came instead of a sheet; {SHARE}"
SIGN_IN = f"Google asks to sign in; {SHARE}"
FAILED = "the server failed; try again later"
TOO_BIG = f"over {MAX_BYTES:,} bytes; make the sheet smaller"
BUSY = "status 429, too many requests; try again later"

FAILURES = {
    "sign-in page": Failure([send(200, SIGN_IN_PAGE, HTML)], NO_PAGE),
    "sign-in page, redirected": Failure(
        [redirect("/x"), send(200, SIGN_IN_PAGE, HTML)], NO_PAGE, 2
    ),
    "page that calls itself CSV": Failure([send(200, SIGN_IN_PAGE)], NO_PAGE),
    "page with a BOM": Failure([send(200, b"\xef\xbb\xbf" + SIGN_IN_PAGE.lstrip())], NO_PAGE),
    "page of another kind": Failure([send(200, b"<p>Sorry</p>", HTML)], NO_PAGE),
    "redirect to ServiceLogin": Failure([redirect("/ServiceLogin?passive=1")], SIGN_IN),
    "redirect to the new sign-in": Failure([redirect("/v3/signin/identifier?x=1")], SIGN_IN),
    "redirect to the accounts": Failure(
        [redirect("https://accounts.google.com/ServiceLogin?x=1")], SIGN_IN
    ),
    "400": Failure([send(400)], "status 400, no such tab; copy the link again with the tab open"),
    "401": Failure([send(401)], f"status 401, not shared; {SHARE}"),
    "403": Failure([send(403)], f"status 403, not shared; {SHARE}"),
    "404": Failure([send(404)], "status 404, no such sheet; copy the link again"),
    "410": Failure([send(410)], "status 410, the sheet was deleted; set another link"),
    "404 after a redirect": Failure(
        [redirect("/x"), send(404)], "status 404, no such sheet; copy the link again", 2
    ),
    "418": Failure([send(418)], f"status 418, {FAILED}"),
    "501": Failure([send(501)], f"status 501, {FAILED}"),
    "204": Failure([send(204)], f"status 204, {FAILED}"),
    "429 for ever": retried(send(429, Retry_After="0"), message=BUSY),
    "429 without a time": retried(send(429), message=BUSY),
    "500 for ever": retried(send(500), message=f"status 500, {FAILED}"),
    "502, 503, 504": retried(send(502), send(503), send(504), message=f"status 504, {FAILED}"),
    "500, then 404": Failure(
        [send(500), send(404)], "status 404, no such sheet; copy the link again", 2
    ),
    "stalls": given_up(stall),
    "stalls within": given_up(stall_within),
    "truncated": retried(send_part(b"name\r\nA\r\n", 20), message=BROKE_OFF),
    "truncated in chunks": retried(
        send_chunks(b"name\r\n", b"A\r\n", is_complete=False), message=BROKE_OFF
    ),
    "truncated, compressed": retried(
        send(
            200, gzip.compress(BODY)[:-9], {**CSV, "Content-Length": "99"}, Content_Encoding="gzip"
        ),
        message=BROKE_OFF,
    ),
    "garbled": retried(send(200, BODY, Content_Encoding="gzip"), message=BROKE_OFF),
    "drips": too_slow(drip({"Content-Length": "1000"}, b"A")),
    "drips to the end": too_slow(drip({}, b"A")),
    "drips in chunks": too_slow(drip({"Transfer-Encoding": "chunked"}, b"1\r\nA\r\n")),
    "drips, compressed": too_slow(drip({"Content-Encoding": "gzip"}, gzip.compress(b"A"))),
    "stalls until the deadline": too_slow(stall),
    "stalls within until the deadline": too_slow(stall_within),
    "too large": Failure([send(200, b"name\n" + b"A" * MAX_BYTES)], TOO_BIG),
    "endless with a length": Failure(
        [send_endless({"Content-Length": "200000000"}, b"A" * 10_000)], TOO_BIG
    ),
    "endless without a length": Failure([send_endless({}, b"A" * 10_000)], TOO_BIG),
    "endless in chunks": Failure(
        [send_endless({"Transfer-Encoding": "chunked"}, b"%x\r\n%b\r\n" % (10_000, b"A" * 10_000))],
        TOO_BIG,
    ),
    "gzip bomb": Failure(
        [send(200, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")], TOO_BIG
    ),
    "gzip bomb in chunks": Failure(
        [send_chunks(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")], TOO_BIG
    ),
    "redirect loop": Failure([redirect("/x")], "redirected more than 5 times; check the link", 6),
    "redirect to ftp": Failure(
        [redirect("ftp://127.0.0.1/x.csv")],
        "redirected to ftp://127.0.0.1/x.csv, which is not https; check the link",
    ),
    "redirect to a file": Failure(
        [redirect("file:///etc/passwd")],
        "redirected to file:///etc/passwd, which is not https; check the link",
    ),
    "redirect to a stranger": Failure(
        [redirect("http://127.0.0.1.evil.example/x.csv?a=b#c")],
        "redirected to http://127.0.0.1.evil.example/x.csv, which is not Google's; check the link",
    ),
    "redirect to a stranger like Google": Failure(
        [redirect("https://evil127.0.0.1/x.csv")],
        "redirected to https://evil127.0.0.1/x.csv, which is not Google's; check the link",
    ),
    "redirect to a stranger by user name": Failure(
        [redirect("https://127.0.0.1@evil.example/x.csv")],
        "redirected to https://127.0.0.1@evil.example/x.csv, which is not Google's; check the link",
    ),
    "redirect to no URL": Failure(
        [redirect("http://[::1/x.csv")], "not a valid URL; correct the link"
    ),
    "empty": Failure([send(200)], "the sheet is empty; artists needs a header and names"),
    "no name": Failure(
        [send(200, b"name,x\r\n,1\r\n")], "no name in column 'name'; put the names of artists there"
    ),
    "latin-1": Failure(
        [send(200, "name\nÉmile\n".encode("latin-1"))], "byte 5 is not UTF-8; save it as UTF-8"
    ),
    "half of a UTF-16 character": Failure(
        [send(200, b"\xff\xfen\0a")], "byte 4 is not UTF-16; save it as UTF-8"
    ),
    "open quote": Failure(
        [send(200, b'name\r\n"A\r\n')],
        "not a readable CSV file (unexpected end of data); export the sheet again",
    ),
}


# A silence is waited for, three times.
CASES = [
    pytest.param(case, marks=pytest.mark.slow if failure.timeout_s == 1 else ())
    for case, failure in FAILURES.items()
]


@pytest.mark.parametrize("case", CASES)
def test_a_failure_says_what_to_do_and_the_old_table_stays(
    google: GoogleServer, rules: DownloadRules, database: Database, case: str
) -> None:
    failure = FAILURES[case]
    google.answer(send_csv("B", "A", ETag='"v1"'))
    refresh_sheet(database, "artists", LINK, rules)
    before = records(database)
    google.answer(*failure.answers)
    shorter = replace(rules, timeout_s=failure.timeout_s, deadline_s=failure.deadline_s)

    with pytest.raises(SheetError) as refusal:
        refresh_sheet(database, "artists", LINK, shorter)

    assert str(refusal.value) == f"{LINK}: {failure.message}"
    assert failure.requests in {None, len(google.requests)}
    assert google.sent_bytes < SOCKET_BYTES
    assert rows(database) == [("B",), ("A",)]
    assert records(database) == before


def test_a_first_failure_leaves_no_table(
    google: GoogleServer, rules: DownloadRules, database: Database
) -> None:
    google.answer(send(404))

    with pytest.raises(SheetError):
        refresh_sheet(database, "artists", LINK, rules)

    assert not database.path.exists()


def test_a_server_that_is_not_there_is_named(rules: DownloadRules) -> None:
    link = f"http://127.0.0.1:{find_closed_port()}/list.csv"

    with pytest.raises(SheetError) as refusal:
        download_csv(link, rules)

    assert (
        str(refusal.value) == f"{link}: no connection; check the network and the link (3 attempts)"
    )


@pytest.mark.exhaustive
def test_a_compressed_flood_is_not_unpacked(google: GoogleServer, rules: DownloadRules) -> None:
    google.answer(send(200, gzip.compress(bytes(100_000_000)), Content_Encoding="gzip"))
    tracemalloc.start()
    try:
        with raises("sheet-too-large"):
            download_csv(LINK, rules)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 5_000_000


# --- What passes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        send(429),
        send(500),
        send(502),
        send(503),
        send(504),
        send_part(b"name\r\n", 99),
        send_chunks(b"name\r\n", is_complete=False),
    ],
    ids=["429", "500", "502", "503", "504", "truncated", "truncated in chunks"],
)
def test_what_passes_is_tried_again(
    google: GoogleServer, rules: DownloadRules, answer: Answer
) -> None:
    google.answer(answer, answer, send_csv("A"))

    assert download_csv(LINK, rules).content == b"name\r\nA\r\n"
    assert [request.target for request in google.requests] == [EXPORT] * 3


def test_a_silence_is_tried_again(google: GoogleServer, rules: DownloadRules) -> None:
    google.answer(stall, send_csv("A"))

    # On a busy machine an answer may come too late as well, and is asked for again.
    patient = replace(rules, timeout_s=0.5, attempts=100)

    assert download_csv(LINK, patient).content == b"name\r\nA\r\n"


def test_the_pause_doubles(google: GoogleServer, rules: DownloadRules) -> None:
    google.answer(send(503), send(503), send_csv("A"))

    download_csv(LINK, replace(rules, backoff_s=0.1))

    first, second, third = (request.at for request in google.requests)
    assert second - first >= 0.1
    assert third - second >= 0.2


def test_a_pause_that_the_server_asks_for_is_kept(
    google: GoogleServer, rules: DownloadRules
) -> None:
    google.answer(send(429, Retry_After="1"), send_csv("A"))

    assert download_csv(LINK, rules).content == b"name\r\nA\r\n"
    first, second = (request.at for request in google.requests)
    assert second - first >= 1


def test_a_pause_until_a_time_is_kept(google: GoogleServer, rules: DownloadRules) -> None:
    moment = datetime.now(tz=UTC).replace(microsecond=0) + timedelta(seconds=1)
    header = format_datetime(moment, usegmt=True)
    google.answer(send(503, Retry_After=header), send_csv("A"))

    assert download_csv(LINK, rules).content == b"name\r\nA\r\n"
    assert google.requests[1].at >= moment.timestamp()


@pytest.mark.parametrize(
    "header",
    [
        "3600",
        "9" * 400,
        "Wed, 01 Jan 2098 00:00:00 GMT",
        "Friday, 01-Jan-60 00:00:00 GMT",
        "Wed Jan  1 00:00:00 2098",
    ],
    ids=["seconds", "many", "date", "date of RFC 850", "date of asctime"],
)
def test_a_pause_beyond_the_deadline_is_not_begun(
    google: GoogleServer, rules: DownloadRules, header: str
) -> None:
    google.answer(send(429, Retry_After=header))

    with pytest.raises(SheetError) as refusal:
        download_csv(LINK, rules)

    assert str(refusal.value) == f"{LINK}: {BUSY} (1 attempt)"
    assert len(google.requests) == 1


@pytest.mark.parametrize(
    "header",
    [
        "soon",
        "",
        "-5",
        "1.5",
        "²",
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT",
    ],
    ids=repr,
)
def test_a_pause_that_means_nothing_is_passed_over(
    google: GoogleServer, rules: DownloadRules, header: str
) -> None:
    google.answer(send(429, Retry_After=header), send_csv("A"))

    assert download_csv(LINK, rules).content == b"name\r\nA\r\n"


# --- https ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    path, key = folder / "certificate.pem", folder / "key.pem"
    command = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    more = ("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext")
    files = ("-keyout", str(key), "-out", str(path))
    subprocess.run(
        (*command, *more, "subjectAltName=IP:127.0.0.1", *files), check=True, capture_output=True
    )
    return path, key


@pytest.fixture
def secure(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[GoogleServer]:
    """The server behind https, with a certificate that `requests` trusts."""
    path, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with run_google_server(context) as server:
        yield server


@pytest.mark.parametrize("is_google", [True, False], ids=["Google", "another server"])
def test_https_is_not_left_for_http(
    secure: GoogleServer, google: GoogleServer, rules: DownloadRules, *, is_google: bool
) -> None:
    secure.answer(redirect(f"{google.origin}/x.csv"))
    google.answer(send_csv("A"))
    link = LINK if is_google else f"{secure.origin}/list.csv"
    origin = secure.origin if is_google else "https://docs.google.com"

    with pytest.raises(SheetError) as refusal:
        download_csv(link, replace(rules, google_origin=origin))

    assert (
        str(refusal.value)
        == f"{link}: redirected to {google.origin}/x.csv, which is not https; check the link"
    )
    assert google.requests == []


def test_https_may_be_redirected_to_https(secure: GoogleServer, rules: DownloadRules) -> None:
    secure.answer(redirect(f"{secure.origin}/x.csv"), send_csv("A"))

    download = download_csv(LINK, replace(rules, google_origin=secure.origin))

    assert download.content == b"name\r\nA\r\n"


# --- The asset -----------------------------------------------------------------------------------


@pytest.fixture
def materialize(
    settings: Settings, google: GoogleServer, instance: dg.DagsterInstance
) -> Callable[[str, str], dg.ExecuteInProcessResult]:
    """Materializes the asset of a kind whose sheet has a link, against the server."""

    def run(kind: str, link: str) -> dg.ExecuteInProcessResult:
        defs = build_defs(replace(settings, sheets=MappingProxyType({kind: link})))
        sheets = SheetSource(
            locations={kind: link},
            google_origin=google.origin,
            google_hosts=["127.0.0.1"],
            timeout_s=PATIENCE_S,
            deadline_s=2 * PATIENCE_S,
            backoff_s=0.01,
            max_bytes=MAX_BYTES,
        )
        return dg.materialize(
            [defs.get_assets_def(kind)],
            resources={**(defs.resources or {}), "sheets": sheets},
            instance=instance,
            raise_on_error=False,
        )

    return run


Materialize = Callable[[str, str], dg.ExecuteInProcessResult]


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    error = failure.step_failure_data.error
    while error and error.cause:
        error = error.cause
    assert error
    return error.message


def metadata_of(result: dg.ExecuteInProcessResult, kind: str) -> dict[str, object]:
    (materialization,) = result.asset_materializations_for_node(kind)
    return {name: value.value for name, value in materialization.metadata.items()}


@pytest.mark.exhaustive
def test_the_asset_tells_of_the_sheet(
    google: GoogleServer, materialize: Materialize, database: Database
) -> None:
    google.answer(
        redirect("/x"), send(200, b"born,Artist\r\n1,A\r\n2,\r\n3,A\r\n4,B\r\n", ETag='"v1"')
    )

    result = materialize("artists", LINK)

    assert result.success
    metadata = metadata_of(result, "artists")
    assert metadata["dagster/row_count"] == 2
    assert (metadata["name_column"], metadata["is_changed"]) == ("Artist", True)
    assert (metadata["repeated"], metadata["repeated_names"]) == (1, "A")
    assert (metadata["without_name"], metadata["source"]) == (1, LINK)
    assert rows(database) == [("A", "1"), ("B", "4")]


@pytest.mark.exhaustive
def test_a_sheet_that_fails_fails_its_check_and_the_table_stays(
    google: GoogleServer, materialize: Materialize, database: Database
) -> None:
    google.answer(send_csv("B", "A"))
    assert materialize("artists", LINK).success
    before = records(database)
    google.answer(send(200, SIGN_IN_PAGE, HTML))

    result = materialize("artists", LINK)

    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert check.metadata["reason"].value == f"{LINK}: {NO_PAGE}"
    assert rows(database) == [("B",), ("A",)]
    assert records(database) == before
    google.answer(send_csv("C"))
    assert materialize("artists", LINK).success
    assert rows(database) == [("C",)]


@pytest.mark.exhaustive
def test_an_unchanged_sheet_says_so(google: GoogleServer, materialize: Materialize) -> None:
    google.answer(send_tagged('"v1"', send_csv("A", ETag='"v1"')))

    changes = [metadata_of(materialize("artists", LINK), "artists")["is_changed"] for _ in "ab"]

    assert changes == [True, False]
    assert [request.headers.get("If-None-Match") for request in google.requests] == [None, '"v1"']


@pytest.mark.exhaustive
def test_a_setting_alone_adds_a_kind_and_its_counts(
    google: GoogleServer, settings: Settings, database: Database, write_shard: WriteShard
) -> None:
    link = f"{google.origin}/brands.csv"
    google.answer(send(200, b"id,Brand\r\n1,Acme\r\n2,Nobody\r\n"))
    environ = {"LAION_SHEET_BRANDS": link}
    brands = Settings.from_environment(environ).sheets["brands"]
    added = replace(settings, sheets=MappingProxyType({**settings.sheets, "brands": brands}))
    write_shard("s", url=["https://a.test/1", "https://a.test/2"], caption=["ACME!", "none"])
    defs = build_defs(added)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("shards", ["s"])
        assert run_job(defs.resolve_job_def("ingest_shards"), instance, "s").reason is None
        outcome = run_job(defs.resolve_job_def("refresh_counts"), instance)

    assert outcome.reason is None
    assert {"brands", "artists", "entity_counts"} <= outcome.metadata.keys()
    assert rows(database, "brands") == [("Acme", "1"), ("Nobody", "2")]
    with database.read() as connection:
        counts = connection.execute(
            "SELECT name, image_count FROM entity_counts WHERE kind = 'brands' ORDER BY rowid"
        ).fetchall()
    assert counts == [("Acme", 1), ("Nobody", 0)]


@pytest.mark.exhaustive
def test_a_sheet_that_fails_leaves_the_counts_of_the_others_and_its_own(
    google: GoogleServer, settings: Settings, instance: dg.DagsterInstance, write_shard: WriteShard
) -> None:
    link = f"{google.origin}/brands.csv"
    defs = build_defs(replace(settings, sheets=MappingProxyType({"brands": link})))
    write_shard("s", url=["https://a.test/1"], caption=["ACME!"])
    instance.add_dynamic_partitions("shards", ["s"])
    run_job(defs.resolve_job_def("ingest_shards"), instance, "s")
    google.answer(send_csv("Acme"))
    assert run_job(defs.resolve_job_def("refresh_counts"), instance).reason is None
    google.answer(send(404))

    result = defs.resolve_job_def("refresh_counts").execute_in_process(instance=instance)

    brands = dg.AssetKey("brands")
    checks = [c for c in result.get_asset_check_evaluations() if c.asset_key == brands]
    (check,) = (c for c in checks if c.check_name == "list_read")
    assert not check.passed
    assert (
        check.metadata["reason"].value == f"{link}: status 404, no such sheet; copy the link again"
    )
    with Database(settings.database).read() as connection:
        assert connection.execute("SELECT * FROM entity_counts").fetchall() == [
            ("brands", "Acme", 1)
        ]


@pytest.mark.slow
def test_what_is_known_is_read_back(
    google: GoogleServer, rules: DownloadRules, database: Database
) -> None:
    google.answer(send_csv("A", "A", "", ETag='"v1"'))
    assert read_record(database, "artists") is None

    record = refresh_sheet(database, "artists", LINK, rules)

    assert isinstance(record, SheetRecord)
    assert replace(record, is_changed=False) == read_record(database, "artists")
    assert read_record(database, "brands") is None
