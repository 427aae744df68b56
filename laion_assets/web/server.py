"""Runs the search page with uvicorn, in this process or in several beside it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory

import uvicorn
from starlette.types import ASGIApp

from laion_assets.errors import LaionError
from laion_assets.stores.shared_block import SharedBlock
from laion_assets.web.app import build_app
from laion_assets.web.clients import ClientTable
from laion_assets.web.current_release import Shelf
from laion_assets.web.figures import FIGURES_DIR, write_visit
from laion_assets.web.limits import Limits
from laion_assets.web.protocol import BoundedProtocol
from laion_assets.web.supervisor import Announcer, Supervisor

# A connection that asks for nothing, or nothing more, is closed after it.
KEEP_ALIVE_S = 20
# With one more, the connection that asks for nothing for the longest time is closed.
MAX_CONNECTIONS = 1_000
# Each holds the release in memory, so more of them are for whoever has the memory to say.
MOST_WORKERS = 2
CORES = os.cpu_count() or 1
# Files that are open besides connections: parts of tables and their indices.
OTHER_FILES = 1_000


@dataclass(frozen=True)
class Service:
    """How the page is served.

    Attributes:
        host: a name or address of this machine.
        port: 0 takes a free one.
        public_url: where visitors find it; host and port if it is not given.
        is_logged: whether each visit is printed.
        per_second: requests a second of one address; None: as many as it likes.
        workers: processes that answer.
    """

    host: str
    port: int
    public_url: str | None = None
    is_logged: bool = False
    per_second: float | None = None
    workers: int = 1


def serve(open_shelf: Callable[[], Shelf], service: Service) -> None:
    """Answers requests until somebody stops it.

    Args:
        open_shelf: returns the releases; called once in each process that answers.
        service: how.

    Raises:
        LaionError: there is no such release, or nothing can listen there.
    """
    _prepare()
    if service.workers > 1:
        _serve_together(open_shelf, service)
        return
    shelf = open_shelf()
    shelf.refresh()
    with listen(service.host, service.port) as listener:
        here = _name_address(service.host, listener)
        app = build_app(
            shelf,
            Limits(per_second=service.per_second),
            public_url=(service.public_url or here).rstrip("/"),
            log_visit=write_visit if service.is_logged else None,
        )
        _announce(here)
        # Stopped by Ctrl-C, uvicorn finishes what it has begun and raises it again.
        with suppress(KeyboardInterrupt):
            configure(app).run(sockets=[listener])


def _serve_together(open_shelf: Callable[[], Shelf], service: Service) -> None:
    """Serves with several processes, which the system hands connections to in equal shares."""
    if sys.platform != "linux":
        raise LaionError(
            "--workers: several processes need Linux; leave it out", code="serve-workers-platform"
        )
    # Nobody else may listen there, as processes of one user could share it without knowing.
    with listen(service.host, service.port) as probe:
        place = probe.getsockname()[:2]
    with reserve(*place) as reserved, TemporaryDirectory(prefix="laion-serve-") as figures:
        here = _name_address(service.host, reserved)
        public_url = (service.public_url or here).rstrip("/")
        block = ClientTable.share(service.workers)
        worker = partial(_work, open_shelf, replace(service, public_url=public_url), place, block)
        os.environ[FIGURES_DIR] = figures
        supervisor = Supervisor(
            service.workers,
            worker,
            lambda number: ClientTable(block, service.workers, number).begin(0),
        )
        ended_by = supervisor.run(lambda: _announce(here))
    if ended_by != signal.SIGINT:
        # As one process ends that the signal was for.
        signal.signal(ended_by, signal.SIG_DFL)
        signal.raise_signal(ended_by)


def _work(
    open_shelf: Callable[[], Shelf],
    service: Service,
    place: tuple[str, int],
    block: SharedBlock,
    number: int,
    told: Connection,
) -> None:
    """Answers requests beside other processes until somebody stops it."""
    announcer = Announcer(told)
    # Ctrl-C is for all processes at once.
    with suppress(KeyboardInterrupt):
        _prepare()
        clients = ClientTable(block, service.workers, number)
        clients.begin(os.getpid())

        def log_visit(visit: Mapping[str, object]) -> None:
            # A long line would else have one of another process in it.
            with clients.lock_log():
                write_visit(visit)

        try:
            shelf = open_shelf()
            shelf.refresh()
            listener = listen(*place, is_shared=True)
        except LaionError as error:
            announcer.say_failed(error)
            return
        app = build_app(
            shelf,
            Limits(running=max(2, CORES // service.workers + 1), per_second=service.per_second),
            public_url=service.public_url or "",
            log_visit=log_visit if service.is_logged else None,
            clients=clients,
        )
        with listener:
            announcer.say_ready()
            configure(app, service.workers).run(sockets=[listener])


def _prepare() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("laion_assets").setLevel(logging.INFO)
    _allow_files(MAX_CONNECTIONS + OTHER_FILES)


def _name_address(host: str, listener: socket.socket) -> str:
    address = f"[{host}]" if ":" in host else host
    return f"http://{address}:{listener.getsockname()[1]}"


def _announce(here: str) -> None:
    print(f"{here}/ (Ctrl-C ends it)", flush=True)


def count_workers() -> int:
    """Returns how many processes answer unless somebody says so: two, or one on one core."""
    return min(CORES, MOST_WORKERS) if sys.platform == "linux" else 1


def _allow_files(count: int) -> None:
    """Lets this process open so many files, as far as the system does; many start with 1,024."""
    # Windows has no such limit.
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < count:
            most = count if hard == resource.RLIM_INFINITY else min(count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def configure(app: ASGIApp, workers: int = 1) -> uvicorn.Server:
    """Returns a server of the application that is not started yet.

    Args:
        app: the application.
        workers: processes that answer, each with its share of the connections.
    """
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=MAX_CONNECTIONS // workers,
        ws="none",
    )
    return uvicorn.Server(config)


def listen(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Returns a socket that listens.

    Args:
        host: a name or address of this machine.
        port: 0 takes a free one.
        is_shared: whether other sockets of this user that say so too may listen there.

    Raises:
        LaionError: nothing can listen there.
    """
    try:
        return socket.create_server(
            (host, port), family=_find_family(host), backlog=MAX_CONNECTIONS, reuse_port=is_shared
        )
    except OSError as error:
        # Python adds the address to what the system says; the resolver's numbers are negative.
        has_number = error.errno is not None and error.errno > 0
        reason = os.strerror(error.errno or 0) if has_number else error.strerror
        raise LaionError(
            f"{host}:{port}: {reason}; choose another with --host or --port", code="port-unusable"
        ) from error


def reserve(host: str, port: int) -> socket.socket:
    """Returns a socket that keeps a port for others to share, and does not listen itself."""
    reserved = socket.socket(_find_family(host), socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((host, port))
    return reserved


def _find_family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
