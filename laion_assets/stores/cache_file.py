"""Opens a cache, a SQLite file that several processes may read and write at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

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
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute(load_sql(table))
        yield connection


def batch_keys(keys: Iterable[str]) -> Iterator[list[str]]:
    """Yields keys, as many at a time as one statement asks for."""
    remaining = iter(keys)
    while batch := list(islice(remaining, _AT_ONCE)):
        yield batch
