"""Locks between processes of several machines, held by sessions with Postgres (`LAION_CATALOG`).

A lock dies with its session, and a session with its process; but a session can also be lost while
its process works on, and then somebody else gets the lock. So whoever commits under a lock asks
first whether it is still held (`check_locks`).
"""

from __future__ import annotations

import hashlib
import os
import platform
import random
import re
import time
from contextlib import closing
from typing import Any, Self
from urllib.parse import urlsplit

from filelock import Timeout

from laion_assets.errors import LaionError, first_line
from laion_assets.stores.sql import load_sql

# How long a process waits for Postgres to come back, before it has the lock.
PATIENCE_S = 60
# A server that says nothing for so long is gone; asked before a commit, it has to answer.
_SILENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# Waiting processes ask again after a tenth of a second, and more rarely the longer they wait.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
# As our statements have them; the client has another form.
_PARAMETER = re.compile(r"\$(\w+)")
# Those that this process has.
_HELD: list[CatalogLock] = []


class CatalogLock:
    """One lock or several, which a session of their own holds."""

    def __init__(self, catalog: str, *names: str, patience_s: float = PATIENCE_S) -> None:
        """Takes nothing yet.

        Args:
            catalog: address of Postgres.
            names: of the locks, which are taken in this order. All processes give the same lock
                the same name.
            patience_s: how long to wait for a server that cannot be reached.
        """
        self._catalog = catalog
        self._names = names
        self._patience_s = patience_s
        self._session: Any = None
        self._lost_at: float | None = None

    def acquire(self, *, blocking: bool = True) -> Self:
        """Takes the locks, and waits for them as long as it takes.

        Raises:
            Timeout: it is not to wait, and another process has one of them.
            LaionError: Postgres cannot be reached.
        """
        # The client calls no handler of signals while a statement runs, so it asks again and again.
        while self._session is None:
            try:
                self._take(is_waiting=blocking)
            except _lost_errors() as error:
                # However long it has waited before for who has the lock.
                self._lost_at = self._lost_at or time.monotonic()
                if time.monotonic() - self._lost_at >= self._patience_s:
                    raise unreachable(self._catalog, error) from error
                time.sleep(_LONGEST_PAUSE_S)
        _HELD.append(self)
        return self

    def release(self) -> None:
        """Gives the locks back by ending the session."""
        if self in _HELD:
            _HELD.remove(self)
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def check(self) -> None:
        """Asks whether the locks are still held.

        Raises:
            LaionError: the session was lost, so another process may have them.
        """
        try:
            ((held,),) = _ask(self._session, "stores/catalog_held")
        except _lost_errors():
            held = 0
        if held < len(self._names):
            raise LaionError(
                f"{self._names[0]}: the session with Postgres that held this lock was lost, so "
                "another process may work there and nothing was committed; run it again",
                code="lock-lost",
                is_passing=True,
            )

    def __enter__(self) -> Self:
        return self if self._session is not None else self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _take(self, *, is_waiting: bool) -> None:
        short = self._names[0].rpartition("/")[2]
        session = connect(self._catalog, f"{os.getpid()}@{platform.node()}: {short}")
        self._lost_at = None
        try:
            for name in self._names:
                pause_s = _FIRST_PAUSE_S
                while not _ask(session, "stores/catalog_lock", key=_find_key(name))[0][0]:
                    if not is_waiting:
                        raise Timeout(name)
                    # Jitter keeps several waiting processes from asking in step.
                    time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311
                    pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        except BaseException:
            session.close()
            raise
        self._session = session


def check_locks() -> None:
    """Asks whether each lock that this process took is still held. Call it right before a commit.

    Raises:
        LaionError: the session of one was lost.
    """
    for held in _HELD:
        held.check()


def connect(catalog: str, purpose: str) -> Any:
    """Opens a session with Postgres, outside any transaction.

    Args:
        catalog: its address.
        purpose: what Postgres shows as the session's name.

    Raises:
        LaionError: the extra is not installed.
        OperationalError: of psycopg2; it cannot be reached.
    """
    client = _import_client()
    session = client.connect(catalog, application_name=purpose[:63], **_SILENCE)
    session.autocommit = True
    _ask(session, "stores/catalog_session")
    return session


def ask(catalog: str, statement: str, **values: object) -> list[tuple[Any, ...]]:
    """Returns the rows of a statement of ours, asked in a session of its own.

    Args:
        catalog: address of Postgres.
        statement: its name, as `load_sql` takes it.
        **values: its parameters.

    Raises:
        LaionError: Postgres cannot be reached.
    """
    try:
        with closing(connect(catalog, "laion")) as session:
            return _ask(session, statement, **values)
    except _lost_errors() as error:
        raise unreachable(catalog, error) from error


def remove_old_rows(catalog: str) -> None:
    """Makes Postgres give back the space of rows that were deleted."""
    with closing(connect(catalog, "laion")) as session, session.cursor() as cursor:
        cursor.execute("VACUUM FULL")


def name_catalog(catalog: str) -> str:
    """Returns the address without user and password, to be shown."""
    parts = urlsplit(catalog)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def unreachable(catalog: str, error: Exception) -> LaionError:
    """Returns what is said where Postgres does not answer."""
    return LaionError(
        f"LAION_CATALOG: {name_catalog(catalog)} cannot be reached ({first_line(error)}); start "
        "Postgres, or correct the address",
        code="catalog-unreachable",
        is_passing=True,
    )


def _ask(session: Any, statement: str, **values: object) -> list[tuple[Any, ...]]:
    with session.cursor() as cursor:
        cursor.execute(_PARAMETER.sub(r"%(\1)s", load_sql(statement)), values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _find_key(name: str) -> int:
    """Returns the number that Postgres knows a lock by."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _lost_errors() -> tuple[type[Exception], ...]:
    client = _import_client()
    # Which one it is differs with how the server ended.
    return client.DatabaseError, client.InterfaceError


def _import_client() -> Any:
    try:
        import psycopg2
    except ModuleNotFoundError as error:
        raise LaionError(
            "LAION_CATALOG: needs more packages; run `pip install 'laion-assets[cluster]'`",
            code="cluster-library-missing",
        ) from error
    return psycopg2
