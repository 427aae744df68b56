"""A web server on loopback that answers as Google does, or as badly as a test wants."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from laion_assets_tests.servers.loopback import PatientServer, QuietHandler, serve

CSV = MappingProxyType({"Content-Type": "text/csv; charset=utf-8"})
HTML = MappingProxyType({"Content-Type": "text/html; charset=utf-8"})
SIGN_IN_PAGE = (
    b"\n<!DOCTYPE html><html><head><title>Sign in - Google Accounts</title></head></html>"
)
# What an endless body sends at most: a client that reads on ends too.
ENDLESS_BYTES = 200_000_000


@dataclass(frozen=True)
class Request:
    """What a client asked for, and when (`time.time()`)."""

    target: str
    headers: Mapping[str, str]
    at: float


class Handler(QuietHandler):
    """Gives the next answer to each request."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        """Answers; a client may leave before the end."""
        self.close_connection = True
        google = self.server.google
        google.requests.append(Request(self.path, dict(self.headers.items()), time.time()))
        with suppress(OSError):
            google.next_answer()(self)

    @property
    def closing(self) -> threading.Event:
        """Set when the server is to end."""
        return self.server.google.closing

    def write(self, data: bytes) -> None:
        """Sends a piece of the body."""
        self.wfile.write(data)
        self.server.google.sent_bytes += len(data)


Answer = Callable[[Handler], None]


class _Server(PatientServer):
    google: GoogleServer


@dataclass
class GoogleServer:
    """The server of a test.

    Attributes:
        port: where it listens.
        scheme: http or https.
        answers: given one after the other; the last one again and again.
        requests: what came.
        sent_bytes: length of all bodies.
        closing: set when the server is to end.
    """

    port: int
    scheme: str = "http"
    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    sent_bytes: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def other_origin(self) -> str:
        """The same server by the name of another host."""
        return f"{self.scheme}://localhost:{self.port}"

    def answer(self, *answers: Answer) -> None:
        """Forgets what came, and gives these answers from now on."""
        self.answers = list(answers)
        self.requests.clear()
        self.sent_bytes = 0

    def next_answer(self) -> Answer:
        """Returns the answer to the next request."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def run_google_server(tls: ssl.SSLContext | None = None) -> Iterator[GoogleServer]:
    """Runs a server until the block is left."""
    server = _Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.google = GoogleServer(server.server_address[1], "https" if tls else "http")
    with serve(server, server.google.closing):
        yield server.google


def find_closed_port() -> int:
    """Returns a port of loopback on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return cast("int", listener.getsockname()[1])


def send(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] = CSV, /, **more: str
) -> Answer:
    """Answers completely; `Retry_After="1"` is the header `Retry-After: 1`."""

    def answer(handler: Handler) -> None:
        extra = {name.replace("_", "-"): value for name, value in more.items()}
        handler.start(status, {"Content-Length": str(len(body)), **headers, **extra})
        handler.write(body)

    return answer


def send_csv(*names: str, **headers: str) -> Answer:
    """Answers with a list of names."""
    return send(200, "".join(f"{line}\r\n" for line in ("name", *names)).encode(), **headers)


def redirect(location: str, status: int = 307) -> Answer:
    """Answers that it is elsewhere, as the export of a Google sheet does."""
    return send(status, b"<HTML>Temporary Redirect</HTML>", HTML, Location=location)


def send_tagged(etag: str, answer: Answer) -> Answer:
    """Answers 304 to a client that knows the content of this tag, else as told."""

    def choose(handler: Handler) -> None:
        if handler.headers.get("If-None-Match") == etag:
            handler.start(304, {"ETag": etag})
        else:
            answer(handler)

    return choose


def send_chunks(*chunks: bytes, is_complete: bool = True, **headers: str) -> Answer:
    """Answers in chunks, with or without the last one that says that there is no more."""

    def answer(handler: Handler) -> None:
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.start(200, {**CSV, "Transfer-Encoding": "chunked", **extra})
        for chunk in (*chunks, b"") if is_complete else chunks:
            handler.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    return answer


def send_part(body: bytes, content_length: int) -> Answer:
    """Announces more than it sends."""
    return send(200, body, {**CSV, "Content-Length": str(content_length)})


def stall(handler: Handler) -> None:
    """Says nothing at all."""
    handler.closing.wait(20)


def stall_within(handler: Handler) -> None:
    """Stops in the middle of the body."""
    handler.start(200, {**CSV, "Content-Length": "1000"})
    handler.write(b"name\r\n")
    handler.closing.wait(20)


def drip(framing: Mapping[str, str], piece: bytes) -> Answer:
    """Sends a piece every 30 ms, for 6 seconds at most."""

    def answer(handler: Handler) -> None:
        handler.start(200, {**CSV, **framing})
        for _ in range(200):
            handler.write(piece)
            if handler.closing.wait(0.03):
                break

    return answer


def send_endless(framing: Mapping[str, str], piece: bytes, status: int = 200) -> Answer:
    """Sends more than anyone wants."""

    def answer(handler: Handler) -> None:
        handler.start(status, {**CSV, **framing})
        for _ in range(ENDLESS_BYTES // len(piece)):
            handler.write(piece)

    return answer
