"""Opens a cache, a SQLite file that several processes may read and write at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from filelock import ReadWriteLock, Timeout

from laion_assets.stores.locks import lock, lock_path
from laion_assets.stores.sql import load_sql

_PAGE_BYTES = 16_384
_BUSY_S = 60
_AT_ONCE = 500


@contextmanager
def open_cache(path: Path, table: str) -> Iterator[sqlite3.Connection]:
    """Opens a cache, and makes it if need be.

    Args:
        path: the file; its folder is there.
        table: name of the statement that creates its table.
    """
    with closing(sqlite3.connect(path, timeout=_BUSY_S)) as connection:
        connection.execute(f"pragma page_size = {_PAGE_BYTES}")
        if connection.execute("pragma journal_mode").fetchone() != ("wal",):
            # SQLite refuses this at once to the second of two that make the file.
            with lock(path.parent, path.stem):
                connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute(load_sql(table))
        yield connection


@contextmanager
def use_caches(folder: Path) -> Iterator[None]:
    """Keeps what is in the caches of a folder while the block runs, in any number of processes.

    What was found there once is read later, so nothing may go in between.
    """
    held = ReadWriteLock(lock_path(folder, "use"), is_singleton=False)
    with closing(held), held.read_lock():
        yield


@contextmanager
def hold_caches(folder: Path) -> Iterator[bool]:
    """Yields whether nobody uses the caches of a folder; then nobody begins to in the block."""
    held = ReadWriteLock(lock_path(folder, "use"), timeout=0, is_singleton=False)
    try:
        held.acquire_write()
    except Timeout:
        held.close()
        yield False
        return
    try:
        yield True
    finally:
        held.release()
        held.close()


def batch_keys(keys: Iterable[str]) -> Iterator[list[str]]:
    """Yields keys, as many at a time as one statement asks for."""
    remaining = iter(keys)
    while batch := list(islice(remaining, _AT_ONCE)):
        yield batch
