"""A release beside the DuckDB tables that it is of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from laion_assets.search.search import CaptionSearch, open_search
from laion_assets.settings import Settings
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore


@dataclass(frozen=True)
class Both:
    """A release, and the same rows in DuckDB."""

    search: CaptionSearch
    sql: duckdb.DuckDBPyConnection


@contextmanager
def open_both(settings: Settings) -> Iterator[Both]:
    """Opens the newest release and the tables."""
    search = open_search(LanceStore(settings.lance_dir))
    with Database(settings.database).read() as connection:
        yield Both(search, connection)
