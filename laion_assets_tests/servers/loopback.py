"""What the test servers on loopback have in common."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class QuietHandler(BaseHTTPRequestHandler):
    """Answers one request a connection, and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Sends the status and the headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()


class PatientServer(ThreadingHTTPServer):
    """Waits for its answers to end when it closes."""

    daemon_threads = False


@contextmanager
def serve(server: PatientServer, closing: threading.Event) -> Iterator[None]:
    """Runs a server until the block is left; its answers look at the event, and end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
