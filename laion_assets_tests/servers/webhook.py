"""A web server on loopback that keeps what it is sent, as a webhook does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message

from laion_assets_tests.servers.loopback import PatientServer, QuietHandler, serve


@dataclass
class Webhook:
    """The other side of a test.

    Attributes:
        port: where it listens.
        status: of its answers.
        received: paths, headers and bodies that came.
    """

    port: int
    status: int = 200
    received: list[tuple[str, Message, str]] = field(default_factory=list)

    @property
    def bodies(self) -> list[str]:
        """What came."""
        return [body for _, _, body in self.received]


class _Server(PatientServer):
    webhook: Webhook


class _Handler(QuietHandler):
    server: _Server

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server looks for
        """Keeps the body."""
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.webhook.received.append((self.path, self.headers, body))
        self.start(self.server.webhook.status, {"Content-Length": "2"})
        self.wfile.write(b"{}")


@contextmanager
def run_webhook() -> Iterator[Webhook]:
    """Runs it until the block is left."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.webhook = Webhook(server.server_address[1])
    with serve(server, threading.Event()):
        yield server.webhook
