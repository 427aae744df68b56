"""Downloads the CSV of a sheet: a Google sheet by any link that a person pastes, or another URL.

Google's habits: an export answers with a redirect to another of its hosts; a sheet that is not
shared answers with a page to sign in, status 200; one that is not there with 404, a tab with 400.
"""

from __future__ import annotations

import re
import time
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit, urlunsplit

from laion_assets.errors import SheetError
from laion_assets.stores.http_client import (
    HTTP_NOT_MODIFIED,
    HTTP_OK,
    MAX_REDIRECTS,
    PassingError,
    name_failures,
    open_session,
    refuse_status,
    retry,
    send,
)

if TYPE_CHECKING:
    import requests

GOOGLE_HOST = "docs.google.com"
DRIVE_HOST = "drive.google.com"
REMEDIES = {
    400: "no such tab; copy the link again with the tab open",
    401: "not shared; share it with anyone who has the link",
    403: "not shared; share it with anyone who has the link",
    404: "no such sheet; copy the link again",
    410: "the sheet was deleted; set another link",
    429: "too many requests; try again later",
}
# /spreadsheets/d/<id>/…, with the account that the browser was signed in to before it or not.
_GOOGLE_SHEET = re.compile(r"^/(?:a/[^/]+/)?spreadsheets/(?:u/\d+/)?d/(e/)?([\w-]+)(?:/|$)")


@dataclass(frozen=True)
class DownloadRules:
    """Limits of a download.

    Attributes:
        google_origin: where Google Sheets are.
        google_hosts: hosts, with all below them, that a Google link may be redirected to.
        max_bytes: size of the content at most.
        timeout_s: silence of the server at most.
        deadline_s: time for all attempts together at most.
        attempts: how often to try what may pass.
        backoff_s: pause before the second attempt; it doubles with each.
    """

    google_origin: str = f"https://{GOOGLE_HOST}"
    google_hosts: tuple[str, ...] = ("google.com", "googleusercontent.com")
    max_bytes: int = 20_000_000
    timeout_s: float = 30
    deadline_s: float = 180
    attempts: int = 4
    backoff_s: float = 1


@dataclass(frozen=True)
class Download:
    """What a server answered.

    Attributes:
        content: the CSV; None if it is the one that was known.
        etag: names this content, if the server says so.
    """

    content: bytes | None
    etag: str | None


def is_link(location: str) -> bool:
    """Returns whether the location is on the network; a link may have lost its `https://`."""
    return "://" in location or location.startswith(f"{GOOGLE_HOST}/")


def export_url(link: str, rules: DownloadRules) -> str:
    """Returns the URL of the CSV behind a link: the export of the right tab for a Google sheet.

    Any other URL is returned as it is.

    Raises:
        SheetError: it is a link into Google Drive, but to no sheet.
    """
    try:
        parts = urlsplit(link if "://" in link else f"https://{link}")
        host = parts.hostname
    except ValueError:
        raise SheetError(
            f"{link}: not a valid URL; correct the link", code="sheet-link-invalid"
        ) from None
    # A file that is kept in Drive is downloaded from /uc; its other pages are for people.
    is_drive_page = host == DRIVE_HOST and parts.path != "/uc"
    if host != GOOGLE_HOST and not is_drive_page:
        return link
    sheet = _GOOGLE_SHEET.match(parts.path)
    if sheet is None:
        raise SheetError(
            f"{link}: not a link to a Google sheet; copy the link from the browser",
            code="sheet-not-google",
        )
    if "/gviz/" in parts.path and "out:csv" in parts.query:
        return f"{rules.google_origin}{parts.path}?{parts.query}"
    # The tab stands after the #, in the query, or in both; the browser shows the one after the #.
    values = {**parse_qs(parts.query), **parse_qs(parts.fragment)}
    is_published = bool(sheet[1]) or parts.path.endswith(("/pub", "/pubhtml"))
    query = {"output": "csv", "single": "true"} if is_published else {"format": "csv"}
    query |= {name: values[name][0] for name in ("gid", "resourcekey") if name in values}
    if "gid" not in query:
        query.pop("single", None)
    path = f"/spreadsheets/d/{sheet[1] or ''}{sheet[2]}/{'pub' if is_published else 'export'}"
    return f"{rules.google_origin}{path}?{urlencode(query)}"


def download_csv(link: str, rules: DownloadRules, known_etag: str | None = None) -> Download:
    """Downloads the CSV behind a link, in bounded time and size.

    Args:
        link: a Google Sheets link or another URL.
        rules: the limits.
        known_etag: of the content that is known already, to be told if it is still the same.

    Raises:
        SheetError: it cannot be had; the message says why, and what to do.
    """
    url = export_url(link, rules)
    deadline = time.monotonic() + rules.deadline_s
    with open_session() as session:
        return retry(
            lambda: _download(session, link, url, rules, known_etag, deadline),
            SheetError,
            attempts=rules.attempts,
            backoff_s=rules.backoff_s,
            deadline=deadline,
        )


def _download(
    session: requests.Session,
    link: str,
    url: str,
    rules: DownloadRules,
    known_etag: str | None,
    deadline: float,
) -> Download:
    headers = {"If-None-Match": known_etag} if known_etag else {}
    with (
        _name_slowness(link, rules, deadline),
        name_failures(link, SheetError),
        _follow(session, link, url, rules, headers, deadline) as response,
    ):
        if response.status_code == HTTP_NOT_MODIFIED and known_etag:
            return Download(None, known_etag)
        if response.status_code != HTTP_OK:
            refuse_status(link, response, REMEDIES, SheetError)
        content = _read_body(link, response, rules, deadline)
        _check_is_csv(link, response, content)
        return Download(content, response.headers.get("ETag"))


@contextmanager
def _name_slowness(link: str, rules: DownloadRules, deadline: float) -> Iterator[None]:
    """Raises that the time for all attempts is over, where a silence lasted until then."""
    try:
        yield
    except PassingError as error:
        if error.code == "http-no-answer" and time.monotonic() >= deadline:
            raise _too_slow(link, rules) from error
        raise


def _too_slow(link: str, rules: DownloadRules) -> SheetError:
    return SheetError(
        f"{link}: not complete after {rules.deadline_s:g} s; try again later",
        code="sheet-too-slow",
        is_passing=True,
    )


@contextmanager
def _follow(
    session: requests.Session,
    link: str,
    url: str,
    rules: DownloadRules,
    headers: dict[str, str],
    deadline: float,
) -> Iterator[requests.Response]:
    """Requests the URL, and follows redirects as far as the rules allow."""
    is_google = url.startswith(f"{rules.google_origin}/")
    for _ in range(MAX_REDIRECTS + 1):
        timeout_s = max(0.001, min(rules.timeout_s, deadline - time.monotonic()))
        with send(session, "GET", url, headers, timeout_s) as response:
            location = session.get_redirect_target(response)
            if location is None:
                yield response
                return
        target = urljoin(url, location)
        _check_redirect(link, url, target, rules.google_hosts if is_google else None)
        url = target
    raise SheetError(
        f"{link}: redirected more than {MAX_REDIRECTS} times; check the link",
        code="sheet-redirects-too-often",
    )


def _check_redirect(link: str, url: str, target: str, hosts: tuple[str, ...] | None) -> None:
    here, there = urlsplit(url), urlsplit(target)
    place = urlunsplit((there.scheme, there.netloc, there.path, "", ""))
    if there.path.startswith(("/ServiceLogin", "/v3/signin", "/signin")):
        raise SheetError(
            f"{link}: Google asks to sign in; share it with anyone who has the link",
            code="sheet-not-shared",
        )
    if there.scheme not in {"https", here.scheme} or there.scheme not in {"http", "https"}:
        raise SheetError(
            f"{link}: redirected to {place}, which is not https; check the link",
            code="sheet-redirect-insecure",
        )
    host = there.hostname or ""
    if hosts is not None and not any(host == h or host.endswith(f".{h}") for h in hosts):
        raise SheetError(
            f"{link}: redirected to {place}, which is not Google's; check the link",
            code="sheet-redirect-elsewhere",
        )


def _read_body(
    link: str, response: requests.Response, rules: DownloadRules, deadline: float
) -> bytes:
    body = bytearray()
    # Unlike `iter_content`, which waits for as many bytes, this returns with what has come.
    while chunk := response.raw.read1(65_536, decode_content=True):
        body += chunk
        if len(body) > rules.max_bytes:
            raise SheetError(
                f"{link}: over {rules.max_bytes:,} bytes; make the sheet smaller",
                code="sheet-too-large",
            )
        if time.monotonic() > deadline:
            raise _too_slow(link, rules)
    return bytes(body)


def _check_is_csv(link: str, response: requests.Response, content: bytes) -> None:
    start = content[:512].removeprefix(BOM_UTF8).lstrip().lower()
    is_html = start.startswith((b"<!doctype html", b"<html"))
    if is_html or "text/html" in response.headers.get("Content-Type", "").lower():
        raise SheetError(
            f"{link}: a web page came instead of a sheet; share it with anyone who has the link",
            code="sheet-is-a-web-page",
        )
