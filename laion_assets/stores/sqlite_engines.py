"""Keeps SQLite files of others open, with the SQL that was compiled for them.

Opening a file, compiling a statement and closing the file again costs many times what it costs to
store a line, and the last one who closes a file waits for the disk.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    from sqlalchemy import Engine

# As long as Dagster waits for another program that writes.
BUSY_S = 30
# Each has a few connections, of three files.
MAX_ENGINES = 8


class SqliteEngines:
    """SQLAlchemy's engines of SQLite files: those that were used last stay open.

    A commit is in the file when it returns, and so survives the end of the process. Only SQLite's
    log reaches the disk later, so a power cut may take the last commits, never a part of one.
    """

    def __init__(self) -> None:
        self._engines: OrderedDict[Path, Engine] = OrderedDict()
        self._lock = Lock()

    def find(self, path: Path) -> Engine:
        """Returns the engine of a file."""
        with self._lock:
            engine = self._engines.pop(path, None) or _create_engine(path)
            self._engines[path] = engine
            if len(self._engines) > MAX_ENGINES:
                _, oldest = self._engines.popitem(last=False)
                oldest.dispose()
        return engine

    def close(self) -> None:
        """Closes all files; one that is used again is opened again."""
        with self._lock:
            while self._engines:
                self._engines.popitem()[1].dispose()


def _create_engine(path: Path) -> Engine:
    from sqlalchemy import create_engine, event

    # As many connections at once as there are threads that ask.
    engine = create_engine(f"sqlite:///{path}", max_overflow=-1, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def wait_for_no_disk(connection: Any, _: object) -> None:
        connection.execute(load_sql("stores/history_set_synchronous"))

    return engine


def is_stamped(path: Path) -> bool:
    """Returns whether a SQLite file has tables with a revision, as Alembic notes it."""
    import sqlite3
    from contextlib import closing

    if not path.exists():
        return False
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as opened:
        try:
            return bool(opened.execute(load_sql("stores/history_select_revision")).fetchall())
        except sqlite3.OperationalError:
            return False
