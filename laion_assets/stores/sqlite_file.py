"""Makes a SQLite file for other programs, which is replaced whole, and the files beside it.

While it is made it has a hidden name. It gets its own when it is checked and on the disk: a program
that reads the file sees the one before or the new one, and whoever has it open keeps what it has.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from laion_assets.errors import LaionError
from laion_assets.stores.sql import load_sql, quote_identifier

# "LAIO" in the file's header: by it a file that may be replaced is known.
_APPLICATION_ID = 0x4C41494F
_HEADER = b"SQLite format 3\0"
_APPLICATION_ID_AT = slice(68, 72)
# Rows are written in the order of their keys, and not read again. An index is sorted in pieces of
# this size, which is fastest where they fit into the caches of a processor.
_WRITTEN_KIB = 4_096
# Checks look up each row in each index.
_CACHE_KIB = 65_536
# SQLite's own are of 4 KiB: each is read, checked and written by calls of its own.
_PAGE_BYTES = 16_384
# SQLite before 3.32 takes 999 values a statement.
_VALUES_AT_ONCE = 999
_BUSY_S = 60


@contextmanager
def replace_files(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yields a temporary path for each file; they get their names when all are on the disk.

    If the block fails, what was there before stays, and nothing else is left. What a killed process
    left is removed. Hold a lock meanwhile.
    """
    temporary = tuple(path.with_name(f".{path.name}.unfinished") for path in paths)
    for path in temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    try:
        yield temporary
        for path in temporary:
            sync(path)
        for unfinished, path in zip(temporary, paths, strict=True):
            unfinished.replace(path)
        for folder in {path.parent for path in paths}:
            sync(folder)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)


@contextmanager
def write_sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a SQLite file of ours, new or to add tables, in a transaction that cannot be undone.

    Write to a temporary path: a file that was cut off cannot be used.

    Raises:
        LaionError: SQLite could not write it, as on a full disk.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"pragma page_size = {_PAGE_BYTES}")
        connection.execute(f"pragma application_id = {_APPLICATION_ID}")
        # There is nothing to return to, and the file is on the disk before it gets its name.
        # Nothing secret is deleted from it either: only a new index is merged.
        connection.execute("pragma secure_delete = off")
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        connection.execute("pragma locking_mode = exclusive")
        connection.execute(f"pragma cache_size = -{_WRITTEN_KIB}")
        connection.execute("begin")
        try:
            yield connection
        except sqlite3.OperationalError as error:
            raise LaionError(
                f"{path.parent}: SQLite could not write its file ({error}); check free disk space, "
                "then try again",
                code="export-not-written",
            ) from error


def insert_columns(
    connection: sqlite3.Connection, statement: str, columns: Sequence[Sequence[Any]]
) -> None:
    """Inserts rows, many with each statement: to begin and end one takes longer than a row.

    Args:
        connection: of `write_sqlite`.
        statement: with {rows} for the rows.
        columns: the values of each column, all of one length.
    """
    width, row_count = len(columns), len(columns[0])
    row, at_once = f"({', '.join('?' * width)})", _VALUES_AT_ONCE // width
    values = chain.from_iterable(zip(*columns, strict=True))
    groups = (tuple(islice(values, width * at_once)) for _ in range(row_count // at_once))
    connection.executemany(statement.format(rows=", ".join([row] * at_once)), groups)
    connection.executemany(statement.format(rows=row), zip(*[values] * width, strict=True))


@contextmanager
def make_temporary(path: Path, name: str) -> Iterator[Path]:
    """Yields a hidden path beside a file, gone afterwards; what a killed process left is removed.

    Args:
        path: the file.
        name: what is in the other one.
    """
    temporary = path.with_name(f".{path.name}.{name}.unfinished")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def copy_tables(connection: sqlite3.Connection, other: Path, tables: Sequence[str]) -> None:
    """Replaces the rows of tables by those of the same tables in another file.

    Where both are defined alike SQLite copies the rows as they are.
    """
    connection.execute(load_sql("stores/sqlite_attach"), (str(other),))
    for table in map(quote_identifier, tables):
        for statement in ("stores/sqlite_empty", "stores/sqlite_copy"):
            connection.execute(load_sql(statement).format(table=table))


@contextmanager
def open_sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """Opens a SQLite file that is done, to be checked; several may at once."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
        yield connection


@contextmanager
def check_meanwhile(path: Path, table: str) -> Iterator[Future[None]]:
    """Checks a table of a file and its indices, and yields the check, while others are added.

    To look up every row in every index takes longer than everything else of a check. Commit the
    table first. SQLite leaves its pages as they are then, so the check reads beside the writer; it
    is stopped at the end of the block.

    Args:
        path: the file, from `write_sqlite`.
        table: that does not change any more, nor do its indices.
    """
    uri = f"{path.absolute().as_uri()}?immutable=1"
    with (
        closing(
            sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        ) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
        # The first page, which the writer does change, is read now, and not again.
        connection.execute("begin")
        connection.execute(load_sql("stores/sqlite_schema_version"))
        query = f"pragma integrity_check({quote_identifier(table)})"
        try:
            yield pool.submit(_check, connection, query)
        finally:
            connection.interrupt()


def check_pages(path: Path) -> None:
    """Checks every page and row of a file, and not whether an index has what its table has.

    Raises:
        LaionError: something is wrong; the message names the first thing.
    """
    with open_sqlite(path) as connection:
        _check(connection, "pragma quick_check(1)")


def _check(connection: sqlite3.Connection, query: str) -> None:
    ((found,), *_) = connection.execute(query).fetchall()
    if found != "ok":
        raise LaionError(
            f"the new file is damaged ({found}); check the disk, then try again",
            code="export-damaged",
        )


def check_foreign_keys(path: Path) -> None:
    """Checks every foreign key of a file, each of one column.

    SQLite's own check reads all columns of all rows. `check_meanwhile` compares an index with them.

    Raises:
        LaionError: a row has no parent; the message names the first one.
    """
    with open_sqlite(path) as connection:
        keys = connection.execute(load_sql("stores/sqlite_foreign_keys")).fetchall()
        for table, column, parent, of_parent in keys:
            query = load_sql("stores/sqlite_orphan").format(
                table=quote_identifier(table),
                column=quote_identifier(column),
                parent=quote_identifier(parent),
                key=quote_identifier(of_parent),
            )
            for (row,) in connection.execute(query):
                raise LaionError(
                    f"row {row} of `{table}` has no row of `{parent}`; please report it",
                    code="export-row-without-parent",
                )


def check_replaceable(path: Path) -> None:
    """Checks that there is no file, or one that `write_sqlite` made.

    Raises:
        LaionError: it is another one, which may not be lost.
    """
    if not path.exists():
        return
    header = b""
    if path.is_file():
        with path.open("rb") as file:
            header = file.read(100)
    is_ours = header.startswith(_HEADER) and header[_APPLICATION_ID_AT] == _APPLICATION_ID.to_bytes(
        4, "big"
    )
    if not is_ours:
        raise LaionError(
            f"{path}: not written by an export, so it is not replaced; choose another path",
            code="export-place-taken",
        )


def rewrite_sqlite(path: Path, deletions: Sequence[str] = (), keys: Sequence[str] = ()) -> None:
    """Deletes rows of a SQLite file, and writes it anew: nothing of what was deleted stays in it.

    Args:
        path: the file; nothing is done where there is none.
        deletions: statements with one parameter; without, only what was deleted before goes.
        keys: its values.

    Raises:
        LaionError: another program keeps the file, or the disk is full.
    """
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as connection:
            connection.execute("pragma secure_delete = on")
            connection.execute("begin immediate")
            for deletion in deletions:
                connection.executemany(deletion, ((key,) for key in keys))
            connection.execute("commit")
            connection.execute("vacuum")
            # What was there before stands in the log beside the file, too.
            connection.execute("pragma wal_checkpoint(truncate)").fetchall()
    except sqlite3.OperationalError as error:
        raise LaionError(
            f"{path}: SQLite could not write it anew ({error}); stop the programs that use it, "
            "check free disk space, then try again",
            code="sqlite-not-rewritten",
        ) from error


def put_new(original: Path, path: Path) -> None:
    """Makes a file a copy of another, whole, unless there is one already."""
    copy = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    shutil.copyfile(original, copy)
    try:
        with suppress(FileExistsError):
            os.link(copy, path)
    finally:
        copy.unlink()


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Returns when a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
