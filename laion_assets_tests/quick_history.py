"""Lets Dagster's history read its own files once a test process, and not once a connection.

For each run Dagster reads its 50 migrations, and for each event it makes a new engine, which
compiles its SQL again. What is stored stays the same; a test that writes many histories takes half
of the time.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, lru_cache
from typing import Any
from unittest.mock import patch

from alembic.script import Script, ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine, NullPool, create_engine

STORAGES = (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage)
load_revisions = ScriptDirectory._load_revisions


@contextmanager
def read_files_once() -> Iterator[None]:
    """Keeps migrations and engines for the next connection, until the block is left."""

    @cache
    def list_revisions(folder: str) -> list[Script]:
        return list(load_revisions(ScriptDirectory(folder)))

    @lru_cache(32)
    def find_engine(address: str, timeout_s: float | None) -> Engine:
        # Without a pool: each connection is new, and closed at its end.
        arguments = {} if timeout_s is None else {"timeout": timeout_s}
        return create_engine(address, poolclass=NullPool, connect_args=arguments)

    def find(address: str, *, connect_args: dict[str, float] | None = None, **_: Any) -> Engine:
        return find_engine(address, (connect_args or {}).get("timeout"))

    with ExitStack() as stack:
        stack.enter_context(
            patch.object(ScriptDirectory, "_load_revisions", lambda self: list_revisions(self.dir))
        )
        for storage in STORAGES:
            stack.enter_context(patch.object(storage, "create_engine", find))
        yield
