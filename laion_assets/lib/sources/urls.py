"""Shards on web servers, the Hugging Face Hub's among them: asked for once, resumed, verified.

A server names a content by its ETag, or else by the time of its last change. The Hub gives the
SHA-256 of a large file in X-Linked-Etag, with the redirect to the server that has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from laion_assets.lib.errors import LaionError, ShardError
from laion_assets.lib.sources.part import Origin, Part
from laion_assets.lib.sources.source import (
    Report,
    Source,
    SourceRules,
    hide_secrets,
    shard_of,
)
from laion_assets.lib.web import (
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

SCHEMES = ("http", "https")
HTTP_OK = 200
HTTP_PARTIAL = 206
HTTP_NOT_MODIFIED = 304
HTTP_RANGE_NOT_SATISFIABLE = 416
# What a server says that answers GET, and not HEAD: as one does to a URL that was signed for GET.
NO_HEAD = (403, 405, 501)
CHUNK_BYTES = 1 << 20
REMEDIES = {
    401: "not allowed; set HF_TOKEN for the Hub, or a login in .netrc for another server",
    403: "not allowed; ask for access, set HF_TOKEN for the Hub, or get a new link",
    404: "no such file; correct LAION_SHARDS",
    410: "the file was removed; correct LAION_SHARDS",
    416: "the server cannot send the part that was asked for; try again",
    429: "too many requests; try again later",
}
LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|::1")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _Unchanged(LaionError):  # noqa: N818 - no error, but the way out of a request
    """The server has what is known already."""


@dataclass(frozen=True)
class Answer:
    """A response after all redirects, and the SHA-256 that one of them promised."""

    response: requests.Response
    sha256: str | None

    @property
    def is_not_modified(self) -> bool:
        """Whether the server says that the content is the one that was named."""
        return self.response.status_code == HTTP_NOT_MODIFIED


def describe_url(url: str, sha256: str | None) -> Source:
    """Returns what a URL says of its shard, without asking the server.

    Raises:
        ShardError: it is no usable URL, holds a password, or its name cannot be a shard's.
    """
    name = hide_secrets(url)
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ShardError(f"{name}: no usable URL; correct LAION_SHARDS")
    if "@" in parts.netloc:
        raise ShardError(f"{name}: a password in LAION_SHARDS can be seen; put it in ~/.netrc")
    file_name = unquote(parts.path.rpartition("/")[2])
    version = f"sha256:{sha256}" if sha256 else None
    return Source(shard_of(file_name, name), url, name, version, sha256)


def warn_of_plain_http(url: str) -> str | None:
    """Returns a warning if anybody on the way could change what the server sends."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme.lower() == "http" and not LOOPBACK.fullmatch(parts.hostname or ""):
        return f"{hide_secrets(url)}: http is not protected against changes on the way; use https"
    return None


def read_version(source: Source, rules: SourceRules) -> str | None:
    """Asks the server which content it has now; None if it does not say.

    Raises:
        ShardError: there is no answer, or none that helps.
    """

    def ask() -> str | None:
        with name_failures(source.name, ShardError), open_session() as session:
            with follow(session, "HEAD", source, {}, rules) as answer:
                if answer.response.status_code not in NO_HEAD or answer.sha256:
                    return _read_version(source, answer)
            with follow(session, "GET", source, {"Range": "bytes=0-0"}, rules) as answer:
                return _read_version(source, answer)

    return retry(ask, ShardError, attempts=rules.attempts, backoff_s=rules.backoff_s)


def download_url(
    source: Source, part: Part, rules: SourceRules, known: str | None, report: Report
) -> Source | None:
    """Brings the file into the part, and goes on where an earlier attempt stopped.

    Args:
        source: where it is.
        part: takes it; what it has of this content is not asked for again.
        rules: how to talk to the server.
        known: version of the content that is here already.
        report: is told how far it has come.

    Returns:
        The source with the version and the SHA-256 that the server gave; None if it is the known
        version, and nothing was brought.

    Raises:
        ShardError: it cannot be had; what has come stays for the next attempt.
        OSError: it cannot be written.
    """
    with open_session() as session:
        try:
            origin = retry(
                lambda: _attempt(session, source, part, rules, known, report),
                ShardError,
                attempts=rules.attempts,
                backoff_s=rules.backoff_s,
                count_bytes=part.count_bytes,
            )
        except _Unchanged:
            part.remove()
            return None
    return replace(source, version=origin.version, sha256=origin.sha256)


def _attempt(
    session: requests.Session,
    source: Source,
    part: Part,
    rules: SourceRules,
    known: str | None,
    report: Report,
) -> Origin:
    begun = part.find_origin(source)
    headers = _conditions(begun, part) if begun else _known_headers(known)
    with (
        name_failures(source.name, ShardError),
        follow(session, "GET", source, headers, rules) as answer,
    ):
        response = answer.response
        if known and (answer.is_not_modified or _version(answer) == known):
            raise _Unchanged
        if begun and response.status_code == HTTP_RANGE_NOT_SATISFIABLE:
            return _check_whole(source, response, part, begun)
        if response.status_code not in (HTTP_OK, HTTP_PARTIAL):
            refuse_status(source.name, response, REMEDIES, ShardError)
        _check_promise(source, answer)
        if response.status_code == HTTP_OK or begun is None:
            begun = Origin(
                source.name,
                source.version or _version(answer),
                source.sha256 or answer.sha256,
                _validator(response),
            )
            part.start(begun)
        _receive(source, response, part, report)
        return begun


def _check_whole(source: Source, response: requests.Response, part: Part, begun: Origin) -> Origin:
    """Returns the origin of a part after which the server has nothing: all had come before."""
    if response.headers.get("Content-Range") == f"bytes */{part.count_bytes()}":
        return begun
    part.remove()
    raise PassingError(f"{source.name}: the server has less than came before; try again")


def _conditions(begun: Origin, part: Part) -> dict[str, str]:
    """Returns the headers that ask for the rest, if the content is still the same (RFC 9110)."""
    headers = {"Range": f"bytes={part.count_bytes()}-"}
    return headers | ({"If-Range": begun.validator} if begun.validator else {})


def _known_headers(known: str | None) -> dict[str, str]:
    kind, _, value = (known or "").partition(":")
    name = {"etag": "If-None-Match", "modified": "If-Modified-Since", "sha256": "If-None-Match"}
    return {name[kind]: f'"{value}"' if kind == "sha256" else value} if kind in name else {}


@contextmanager
def follow(
    session: requests.Session,
    method: str,
    source: Source,
    headers: Mapping[str, str],
    rules: SourceRules,
) -> Iterator[Answer]:
    """Sends a request and follows redirects, to https alone unless it began with http.

    The one that promises a SHA-256 is not followed where that is all that is asked for: by HEAD,
    or by If-None-Match with this very SHA-256.
    """
    url, sha256 = source.place, None
    for _ in range(MAX_REDIRECTS + 1):
        # What the server would compress on the way could not be resumed, nor its length checked.
        sent = {"Accept-Encoding": "identity", **headers, **_authorize(url, rules)}
        with send(session, method, url, sent, rules.timeout_s) as response:
            sha256 = sha256 or _linked_sha256(response)
            location = session.get_redirect_target(response)
            is_told = sha256 and (method == "HEAD" or headers.get("If-None-Match") == f'"{sha256}"')
            if location is None or is_told:
                yield Answer(response, sha256)
                return
        target = urljoin(url, location)
        _check_redirect(source.name, url, target)
        url = target
    raise ShardError(f"{source.name}: redirected more than {MAX_REDIRECTS} times; check the link")


def _authorize(url: str, rules: SourceRules) -> dict[str, str]:
    """Returns the header with the token for the Hub, and for nobody else."""
    hub, there = urlsplit(rules.hub_endpoint), urlsplit(url)
    is_hub = (there.scheme, there.netloc.lower()) == (hub.scheme, hub.netloc.lower())
    is_safe = there.scheme == "https" or LOOPBACK.fullmatch(there.hostname or "")
    is_sent = rules.hub_token and is_hub and is_safe
    return {"Authorization": f"Bearer {rules.hub_token}"} if is_sent else {}


def _check_redirect(name: str, url: str, target: str) -> None:
    here, there = urlsplit(url).scheme.lower(), urlsplit(target).scheme.lower()
    if there not in {"https", here} or there not in SCHEMES:
        place = hide_secrets(target)
        raise ShardError(f"{name}: redirected to {place}, which is not https; check the link")


def _linked_sha256(response: requests.Response) -> str | None:
    etag = response.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"').lower()
    return etag if _SHA256.fullmatch(etag) else None


def _check_promise(source: Source, answer: Answer) -> None:
    if source.sha256 and answer.sha256 and source.sha256 != answer.sha256:
        raise ShardError(
            f"{source.name}: the server has SHA-256 {answer.sha256}, not {source.sha256}; "
            "correct LAION_SHARDS or get the right file"
        )
    if (coding := answer.response.headers.get("Content-Encoding", "identity")) != "identity":
        raise ShardError(f"{source.name}: sent with coding {coding}; have it sent as it is")


def _read_version(source: Source, answer: Answer) -> str | None:
    if answer.response.status_code not in (HTTP_OK, HTTP_PARTIAL) and not answer.sha256:
        refuse_status(source.name, answer.response, REMEDIES, ShardError)
    return _version(answer)


def _version(answer: Answer) -> str | None:
    headers = answer.response.headers
    if answer.sha256:
        return f"sha256:{answer.sha256}"
    if etag := headers.get("ETag"):
        return f"etag:{etag}"
    return f"modified:{modified}" if (modified := headers.get("Last-Modified")) else None


def _validator(response: requests.Response) -> str | None:
    """Returns what If-Range may hold: a weak ETag is none (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _receive(source: Source, response: requests.Response, part: Part, report: Report) -> None:
    done, total = _measure(source, response, part)
    report(done, total)
    with part.open() as file:
        for chunk in _read_body(source, response, part, total):
            file.write(chunk)
            done += len(chunk)
            report(done, total)
    if total is not None and done < total:
        raise _name_break(source, part, total, "the connection broke off")
    if total is not None and done > total:
        part.remove()
        raise PassingError(f"{source.name}: {done:,} bytes came instead of {total:,}; try again")


def _read_body(
    source: Source, response: requests.Response, part: Part, total: int | None
) -> Iterator[bytes]:
    from urllib3.exceptions import ProtocolError, ReadTimeoutError

    try:
        # Unlike `iter_content`, which waits for as many bytes, this returns with what has come, so
        # that a broken connection loses nothing.
        while chunk := response.raw.read1(CHUNK_BYTES):
            yield chunk
    except ReadTimeoutError as error:
        raise _name_break(source, part, total, "the server fell silent") from error
    except ProtocolError as error:
        raise _name_break(source, part, total, "the connection broke off") from error


def _name_break(source: Source, part: Part, total: int | None, reason: str) -> PassingError:
    place = f"{part.count_bytes():,}" + (f" of {total:,}" if total else "")
    return PassingError(f"{source.name}: {reason} at byte {place}; check the network and try again")


def _measure(source: Source, response: requests.Response, part: Part) -> tuple[int, int | None]:
    """Returns the bytes that are there, and those that there will be, if the server says so."""
    length = response.headers.get("Content-Length")
    if response.status_code == HTTP_OK:
        return 0, int(length) if length and length.isdigit() else None
    place = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if place is None or int(place[1]) != part.count_bytes():
        part.remove()
        raise PassingError(f"{source.name}: the server sent another part than asked for; try again")
    return int(place[1]), int(place[2])
