"""Runs the search page with uvicorn, in this process."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from laion_assets.errors import LaionError
from laion_assets.web.app import build_app
from laion_assets.web.current_release import Shelf
from laion_assets.web.figures import LogVisit
from laion_assets.web.limits import Limits
from laion_assets.web.protocol import BoundedProtocol

# A connection that asks for nothing, or nothing more, is closed after it.
KEEP_ALIVE_S = 20
# With one more, the connection that asks for nothing for the longest time is closed.
MAX_CONNECTIONS = 1_000
# Files that are open besides connections: parts of tables and their indices.
OTHER_FILES = 1_000


def serve(
    shelf: Shelf,
    host: str,
    port: int,
    public_url: str | None = None,
    log_visit: LogVisit | None = None,
    per_second: float | None = None,
) -> None:
    """Answers requests until somebody stops it.

    Args:
        shelf: the releases.
        host: a name or address of this machine.
        port: 0 takes a free one.
        public_url: where visitors find it; host and port if it is not given.
        log_visit: writes each visit into a log; None: nobody keeps one.
        per_second: requests a second of one address; None: as many as it likes.

    Raises:
        LaionError: there is no such release, or nothing can listen there.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("laion_assets").setLevel(logging.INFO)
    _allow_files(MAX_CONNECTIONS + OTHER_FILES)
    shelf.refresh()
    with listen(host, port) as listener:
        address = f"[{host}]" if ":" in host else host
        here = f"http://{address}:{listener.getsockname()[1]}"
        public_url = (public_url or here).rstrip("/")
        limits = Limits(per_second=per_second)
        app = build_app(shelf, limits, public_url=public_url, log_visit=log_visit)
        print(f"{here}/ (Ctrl-C ends it)", flush=True)
        # Stopped by Ctrl-C, uvicorn finishes what it has begun and raises it again.
        with suppress(KeyboardInterrupt):
            configure(app).run(sockets=[listener])


def _allow_files(count: int) -> None:
    """Lets this process open so many files, as far as the system does; many start with 1,024."""
    # Windows has no such limit.
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < count:
            most = count if hard == resource.RLIM_INFINITY else min(count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def configure(app: ASGIApp) -> uvicorn.Server:
    """Returns a server of the application that is not started yet."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=MAX_CONNECTIONS,
        ws="none",
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Raises:
        LaionError: nothing can listen there.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        # Python adds the address to what the system says; the resolver's numbers are negative.
        has_number = error.errno is not None and error.errno > 0
        reason = os.strerror(error.errno or 0) if has_number else error.strerror
        raise LaionError(
            f"{host}:{port}: {reason}; choose another with --host or --port", code="port-unusable"
        ) from error
