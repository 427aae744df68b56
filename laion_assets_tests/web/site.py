"""The search page over a small release, on loopback."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests
from starlette.types import ASGIApp

from laion_assets.web.server import configure


@dataclass(frozen=True)
class Site:
    """A server that runs."""

    url: str

    def get(self, path: str, **headers: str) -> requests.Response:
        """Asks for a page, without the cookies of anybody."""
        return requests.get(self.url + path, headers=headers, timeout=20)

    def post(self, path: str, **headers: str) -> requests.Response:
        """Presses a button."""
        return requests.post(self.url + path, headers=headers, timeout=20, allow_redirects=False)


@contextmanager
def run_site(app: ASGIApp) -> Iterator[Site]:
    """Serves an application in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = configure(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()
