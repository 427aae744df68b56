"""A web server on loopback that serves files as servers do, or as badly as a test wants."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate

from laion_assets_tests.servers.loopback import PatientServer, QuietHandler, serve

HTML = b"<!DOCTYPE html><html><head><title>Not found</title></head></html>"
PIECE_BYTES = 1 << 20
# Of a server that takes its time.
SLOW_PIECE_BYTES = 1 << 16
# How long a silent answer lasts, if the test does not end before.
STALL_S = 20
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Request:
    """What a client asked for, and how much of a body it was sent."""

    method: str
    path: str
    query: str
    headers: Message
    sent_bytes: int = 0


class Handler(QuietHandler):
    """Gives each request the next answer of its path."""

    protocol_version = "HTTP/1.1"
    server: _Server
    request_seen: Request

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        """Answers; a client may leave before the end."""
        self.close_connection = True
        path, _, query = self.path.partition("?")
        self.request_seen = Request(self.command, path, query, self.headers)
        files = self.server.files
        with suppress(OSError):
            files.take(self.request_seen)(self)

    def do_HEAD(self) -> None:  # noqa: N802 - the name that http.server looks for
        """Answers without a body."""
        self.do_GET()

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server looks for
        """Answers as to GET; the answer reads the body if it wants to."""
        self.do_GET()

    @property
    def closing(self) -> threading.Event:
        """Set when the server is to end."""
        return self.server.files.closing

    def write(self, data: bytes) -> None:
        """Sends a piece of the body, unless only the headers were asked for."""
        if self.command != "HEAD":
            self.wfile.write(data)
            self.request_seen.sent_bytes += len(data)


Answer = Callable[[Handler], None]


class _Server(PatientServer):
    files: FileServer


@dataclass
class FileServer:
    """The server of a test.

    Attributes:
        port: where it listens.
        answers: of each path, given one after the other; the last one again and again.
        requests: what came.
        closing: set when the server is to end.
    """

    port: int
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def sent_bytes(self) -> int:
        """Length of all bodies."""
        return sum(request.sent_bytes for request in self.requests)

    @property
    def methods(self) -> list[str]:
        """The methods of what came."""
        return [request.method for request in self.requests]

    def put(self, path: str, *answers: Answer) -> str:
        """Gives these answers from now on, forgets what came, and returns the URL."""
        self.answers[path] = list(answers)
        self.requests.clear()
        return f"{self.origin}{path}"

    def take(self, request: Request) -> Answer:
        """Notes a request, and returns the answer to it."""
        with self._lock:
            self.requests.append(request)
            answers = self.answers.get(request.path) or [send(404)]
            return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def run_file_server() -> Iterator[FileServer]:
    """Runs a server until the block is left."""
    server = _Server(("127.0.0.1", 0), Handler)
    server.files = FileServer(server.server_address[1])
    with serve(server, server.files.closing):
        yield server.files


def tag(content: bytes) -> str:
    """Returns the strong ETag of a content."""
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def date(second: int = 0) -> str:
    """Returns a moment of the past, as Last-Modified has it."""
    return formatdate(1_700_000_000 + second, usegmt=True)


def send(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answers completely; `Retry_After="1"` is the header `Retry-After: 1`."""

    def answer(handler: Handler) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.start(status, {"Content-Length": str(len(body)), **named})
        handler.write(body)

    return answer


def redirect(location: str, status: int = 302, **headers: str) -> Answer:
    """Answers that it is elsewhere."""
    return send(status, HTML, Location=location, **headers)


def stall(handler: Handler) -> None:
    """Says nothing at all."""
    handler.closing.wait(STALL_S)


@dataclass(frozen=True)
class Serve:
    """Serves a content, in parts too, and says that it is unchanged to who knows it.

    Attributes:
        content: the file.
        etag: None: the MD5 in quotes; '' for no such header.
        modified: '' for no such header.
        headers: more of them.
        cut_bytes: after so many bytes of a body the connection ends.
        stall_bytes: after so many bytes nothing comes any more.
        announced_bytes: as the length of the file, where that is a lie.
        is_ranged: whether it can send a part.
        is_chunked: whether it sends without a length.
        pause_s: between pieces.
    """

    content: bytes
    etag: str | None = None
    modified: str = date()
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_bytes: int | None = None
    stall_bytes: int | None = None
    announced_bytes: int | None = None
    is_ranged: bool = True
    is_chunked: bool = False
    pause_s: float = 0

    def __call__(self, handler: Handler) -> None:
        """Answers."""
        if self._is_known(handler.headers):
            handler.start(304, self._validators)
            return
        first, after = self._find_range(handler.headers)
        length = len(self.content)
        if first and first >= length:
            handler.start(416, {"Content-Range": f"bytes */{length}", "Content-Length": "0"})
            return
        announced = after - first if self.announced_bytes is None else self.announced_bytes
        framing = {"Content-Length": str(announced)}
        if self.is_chunked:
            framing = {"Transfer-Encoding": "chunked"}
        is_part = (first, after) != (0, length)
        if is_part:
            framing["Content-Range"] = f"bytes {first}-{after - 1}/{length}"
        handler.start(206 if is_part else 200, {**framing, **self._validators, **self.headers})
        self._send_body(handler, first, after)

    @property
    def _etag(self) -> str:
        return tag(self.content) if self.etag is None else self.etag

    @property
    def _validators(self) -> dict[str, str]:
        found = {"ETag": self._etag, "Last-Modified": self.modified}
        return {name: value for name, value in found.items() if value}

    def _is_known(self, headers: Message) -> bool:
        known = headers.get("If-None-Match")
        if known is not None:
            return bool(self._etag) and self._etag.removeprefix("W/") == known.removeprefix("W/")
        return bool(self.modified) and headers.get("If-Modified-Since") == self.modified

    def _find_range(self, headers: Message) -> tuple[int, int]:
        """Returns where to begin and end; a weak ETag allows no part (RFC 9110, 13.1.5)."""
        asked = _RANGE.fullmatch(headers.get("Range", ""))
        strong = {self.modified, self._etag if self._etag.startswith('"') else ""} - {""}
        is_same = headers.get("If-Range", "") in strong or "If-Range" not in headers
        length = len(self.content)
        if not (asked and is_same and self.is_ranged):
            return 0, length
        return int(asked[1]), min(int(asked[2]) + 1, length) if asked[2] else length

    def _send_body(self, handler: Handler, first: int, after: int) -> None:
        last = after
        for limit in (self.cut_bytes, self.stall_bytes):
            last = last if limit is None else min(last, first + limit)
        piece_bytes = SLOW_PIECE_BYTES if self.pause_s else PIECE_BYTES
        for at in range(first, last, piece_bytes):
            piece = self.content[at : min(at + piece_bytes, last)]
            handler.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.is_chunked else piece)
            if self.pause_s:
                time.sleep(self.pause_s)
        if self.stall_bytes is not None:
            handler.closing.wait(STALL_S)
        elif self.is_chunked and self.cut_bytes is None:
            handler.write(b"0\r\n\r\n")
