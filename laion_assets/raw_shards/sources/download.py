"""Downloads a file from a web server, and goes on where an earlier attempt stopped.

What has come is a part of one content: the server is asked for the rest only if it still has the
same one, and sends all of it otherwise.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from laion_assets.errors import ShardError
from laion_assets.raw_shards.sources.source import Report, Source, SourceRules
from laion_assets.raw_shards.sources.urls import (
    HTTP_PARTIAL,
    Answer,
    follow,
    refuse_answer,
)
from laion_assets.stores.http_client import (
    HTTP_OK,
    PassingError,
    name_failures,
    open_session,
    retry,
)
from laion_assets.stores.part import Origin, Part

if TYPE_CHECKING:
    import requests

HTTP_RANGE_NOT_SATISFIABLE = 416
CHUNK_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class _Unchanged(Exception):  # noqa: N818 - no error, but the way out of a request
    """The server has what is known already."""


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
    begun = part.find_origin(source.name, source.sha256)
    headers = _conditions(begun, part) if begun else _known_headers(known)
    with (
        name_failures(source.name, ShardError),
        follow(session, "GET", source, headers, rules) as answer,
    ):
        response = answer.response
        if known and (answer.is_not_modified or answer.version == known):
            raise _Unchanged
        if begun and response.status_code == HTTP_RANGE_NOT_SATISFIABLE:
            return _check_whole(source, response, part, begun)
        if response.status_code not in (HTTP_OK, HTTP_PARTIAL):
            refuse_answer(source, answer)
        _check_promise(source, answer)
        if response.status_code == HTTP_OK or begun is None:
            begun = Origin(
                source.name,
                source.version or answer.version,
                source.sha256 or answer.sha256,
                _validator(response),
            )
            part.start(begun)
        else:
            _check_same(source, response, part, begun)
        _receive(source, response, part, report)
        return begun


def _check_same(source: Source, response: requests.Response, part: Part, begun: Origin) -> None:
    """Checks that what a server sends is the rest of what has come; some ignore If-Range."""
    validator = _validator(response)
    if begun.validator and validator and validator != begun.validator:
        part.remove()
        raise PassingError(
            f"{source.name}: the file changed during the download; try again",
            code="download-changed",
        )


def _check_whole(source: Source, response: requests.Response, part: Part, begun: Origin) -> Origin:
    """Returns the origin of a part after which the server has nothing: all had come before."""
    if response.headers.get("Content-Range") == f"bytes */{part.count_bytes()}":
        return begun
    part.remove()
    raise PassingError(
        f"{source.name}: the file on the server is shorter than what was downloaded; try again",
        code="download-shrank",
    )


def _conditions(begun: Origin, part: Part) -> dict[str, str]:
    """Returns the headers that ask for the rest, if the content is still the same (RFC 9110)."""
    headers = {"Range": f"bytes={part.count_bytes()}-"}
    return headers | ({"If-Range": begun.validator} if begun.validator else {})


def _known_headers(known: str | None) -> dict[str, str]:
    kind, _, value = (known or "").partition(":")
    name = {"etag": "If-None-Match", "modified": "If-Modified-Since", "sha256": "If-None-Match"}
    return {name[kind]: f'"{value}"' if kind == "sha256" else value} if kind in name else {}


def _check_promise(source: Source, answer: Answer) -> None:
    if source.sha256 and answer.sha256 and source.sha256 != answer.sha256:
        raise ShardError(
            f"{source.name}: the server has SHA-256 {answer.sha256}, not {source.sha256}; "
            "correct LAION_SHARDS or get the right file",
            code="download-checksum-differs",
        )
    if (coding := answer.response.headers.get("Content-Encoding", "identity")) != "identity":
        raise ShardError(
            f"{source.name}: the server sent it with encoding {coding}; serve the plain file",
            code="download-encoded",
        )


def _validator(response: requests.Response) -> str | None:
    """Returns what If-Range may hold: a weak ETag is none (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _receive(source: Source, response: requests.Response, part: Part, report: Report) -> None:
    done, total = _measure(source, response, part)
    _check_room(source, part, (total or 0) - done)
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
        raise PassingError(
            f"{source.name}: received {done:,} of {total:,} bytes; try again",
            code="download-incomplete",
        )


def _check_room(source: Source, part: Part, missing_bytes: int) -> None:
    free_bytes = shutil.disk_usage(part.path.parent).free
    if missing_bytes > free_bytes:
        if not part.count_bytes():
            part.remove()
        raise ShardError(
            f"{source.name}: needs {missing_bytes:,} bytes, and the disk has {free_bytes:,} left; "
            "make room, then try again: the download resumes",
            code="download-without-room",
        )


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
    return PassingError(
        f"{source.name}: {reason} at byte {place}; check the network and try again",
        code="download-broke-off",
    )


def _measure(source: Source, response: requests.Response, part: Part) -> tuple[int, int | None]:
    """Returns the bytes that are there, and those that there will be, if the server says so."""
    length = response.headers.get("Content-Length")
    if response.status_code == HTTP_OK:
        return 0, int(length) if length and length.isdigit() else None
    place = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if place is None or int(place[1]) != part.count_bytes():
        part.remove()
        raise PassingError(
            f"{source.name}: the server sent another part of the file than requested; try again",
            code="download-wrong-part",
        )
    # A server may not say how long the whole is; this part goes to its end all the same.
    return int(place[1]), int(place[2]) + 1 if place[3] == "*" else int(place[3])
