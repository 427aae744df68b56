"""Builds the full-text index of an export in a process of its own.

The index has no copy of the captions, so it can be made from the release in a file of its own while
the rows are written to another: splitting captions into words takes as long as everything else.
Then its tables, which are a tenth of the file, are copied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.exports.released_rows import list_values, number_rows
from laion_assets.stores.index_parts import start_builders
from laion_assets.stores.sql import load_sql
from laion_assets.stores.sqlite_file import copy_tables, make_temporary, write_sqlite

if TYPE_CHECKING:
    import numpy as np

    from laion_assets.stores.lance_store import LanceStore

    Numbers: TypeAlias = np.ndarray[Any, Any]

# The words that FTS5 collects are all over its memory: in large pages they are found faster. For
# glibc, from 2.35; others do not read it.
_LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# What FTS5 keeps an index in. The fourth, `images_fts_config`, is as it was created.
_TABLES = ("images_fts_data", "images_fts_idx", "images_fts_docsize")


@dataclass(frozen=True)
class CaptionIndex:
    """A full-text index that is to be built.

    Attributes:
        store: the Lance tables.
        release: the tag.
        removed: ids of rows that are left out.
        is_safe: whether unsafe rows are left out, too.
        path: the SQLite file that is to have it.
    """

    store: LanceStore
    release: str
    removed: Numbers
    is_safe: bool
    path: Path
    column: str = "text"

    def build(self) -> None:
        """Builds the index in this process, as one part: each search reads one.

        Raises:
            LaionError: SQLite could not write it, as on a full disk.
        """
        images = self.store.open("images", self.release)
        rows = number_rows(images, ["caption"], self.removed, is_safe=self.is_safe)
        insert = load_sql("exports/insert_caption")
        with write_sqlite(self.path) as connection:
            connection.execute(load_sql("exports/create_images_fts"))
            connection.execute(load_sql("exports/set_hash_size"))
            for batch in rows:
                numbers, captions = (list_values(batch[name]) for name in ("id", "caption"))
                connection.executemany(insert, zip(numbers, captions, strict=True))
            connection.execute(load_sql("exports/merge_captions"))
            connection.execute("commit")


@contextmanager
def start_indexer(path: Path) -> Iterator[Indexer]:
    """Starts the process that is to build the index in a temporary file beside a file."""
    with (
        make_temporary(path, "captions") as temporary,
        start_builders(1, _LARGE_PAGES) as (build,),
    ):
        yield Indexer(temporary, build)


@dataclass(frozen=True)
class Indexer:
    """A process that waits for what it is to index."""

    path: Path
    build: Callable[[CaptionIndex], Future[None]]

    def start(
        self, store: LanceStore, release: str, removed: Numbers, *, is_safe: bool
    ) -> BuiltIndex:
        """Begins to build the index of a release."""
        order = CaptionIndex(store, release, removed, is_safe, self.path)
        return BuiltIndex(self.path, self.build(order))


@dataclass(frozen=True)
class BuiltIndex:
    """An index that another process builds."""

    path: Path
    built: Future[None]

    def copy_to(self, connection: sqlite3.Connection) -> None:
        """Creates `images_fts` in a file with the index, once it is built.

        Raises:
            LaionError: it could not be built.
        """
        self.built.result()
        connection.execute(load_sql("exports/create_images_fts"))
        copy_tables(connection, self.path, _TABLES)
