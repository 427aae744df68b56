"""Opens the DuckDB file for every process of the project, one writer at a time.

DuckDB lets one process write a file, or several read it, and fails the others at once. Here they
queue: whoever opens the file first takes a lock beside it, which readers share and a writer has
alone, until it has closed the database. The lock is the kernel's and dies with its process.
Programs that know nothing of the lock are waited for by trying again, for a bounded time.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from filelock import ReadWriteLock, Timeout

from laion_assets.errors import DatabaseBusyError, LaionError, first_line
from laion_assets.schemas import SCHEMA_VERSION, TABLES
from laion_assets.stores.disk_space import check_space
from laion_assets.stores.migration import (
    check_not_newer,
    is_current,
    migrate_database,
    read_database_version,
)
from laion_assets.stores.reasons import find_system_reason
from laion_assets.stores.sql import load_sql, quote_identifier, quote_literal
from laion_assets.stores.torn_block import forget_writer, mend_torn_block, note_writer

if TYPE_CHECKING:
    import pyarrow as pa

    from laion_assets.settings import Settings

# What the system says of a lock's file in a folder that this user, or nobody, can write.
UNWRITABLE = (EACCES, EPERM, EROFS)
# Seconds to wait for other processes of the project, and for programs that know nothing of them.
QUEUE_WAIT_S, STRANGER_WAIT_S = 3600, 120
# DuckDB takes 20 ms to start an engine and 1 ms to attach a file to one, and a refresh opens the
# file some hundred times. An engine serves one block at a time; what it had attached is closed.
_IDLE_ENGINES: list[duckdb.DuckDBPyConnection] = []
# An engine keeps what memory it has had. One that was busy for longer than this is ended, so that
# the memory is there for what comes next; the start of another one costs little beside it.
LONG_S = 0.25
# DuckDB keeps what it has read of the file up to 80 % of the machine's memory, so that a release of
# many shards takes more than one of a few. What does not fit goes to disk: with so much for each
# core, a shard of 1.7 million rows never does, and one of 7 million takes 5 % longer.
CORE_MEMORY_MB = 256


@dataclass(frozen=True)
class Database:
    """The DuckDB file of the project.

    Attributes:
        path: the file.
        queue_wait_s: how long to queue behind other processes of the project. They hold the file
            for seconds: the default is hundreds of shards.
        stranger_wait_s: how long to wait for a program that knows nothing of the queue, such as a
            notebook left open; somebody has to hear of that.
    """

    path: Path
    queue_wait_s: float = QUEUE_WAIT_S
    stranger_wait_s: float = STRANGER_WAIT_S

    @classmethod
    def of(cls, settings: Settings) -> Database:
        """Returns the tables of a project: in the file, or in a bucket if one is set."""
        return cls.at(settings.database, settings.warehouse_bucket)

    @classmethod
    def at(
        cls,
        path: Path,
        bucket: str | None,
        queue_wait_s: float = QUEUE_WAIT_S,
        stranger_wait_s: float = STRANGER_WAIT_S,
    ) -> Database:
        """Returns the tables of a bucket, if there is one, else those of a file."""
        if bucket is None:
            return cls(path, queue_wait_s, stranger_wait_s)
        from laion_assets.stores.bucket_database import BucketDatabase

        return BucketDatabase(path, queue_wait_s, stranger_wait_s, bucket)

    @property
    def is_shared(self) -> bool:
        """Whether other machines load shards into the same tables."""
        return False

    def exists(self) -> bool:
        """Returns whether anything was written yet."""
        return self.path.exists()

    @contextmanager
    def write(
        self,
        *tables: str,  # noqa: ARG002 - for tables in a bucket
        shards: Collection[str] | None = None,  # noqa: ARG002
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Opens the database for the only writer, in a transaction; creates what is missing.

        Leaving the block commits; an exception in it rolls everything back, with the migration of
        an older schema.

        Args:
            tables: those that the block changes. The file has all; a bucket gives no others.
            shards: those whose rows the block changes; None: any.

        Raises:
            LaionError: a newer version of this project has written it.
            DatabaseBusyError: the file was not free in time; the message names the holder.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open(is_read_only=False) as connection:
            is_whole = is_current(connection)
            with _transaction(connection, self.path):
                if not is_whole:
                    migrate_database(connection, self.path)
                yield connection

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Opens the database to read what is committed. Writers wait until the block is left.

        One of an older schema is migrated first.

        Raises:
            LaionError: there is no database yet, or a newer version of this project has written it.
            DatabaseBusyError: the file was not free in time; the message names the holder.
        """
        if not self.path.exists():
            raise no_database(self.path)
        with ExitStack() as stack:
            connection = stack.enter_context(self._open(is_read_only=True))
            version = read_database_version(connection)
            check_not_newer(self.path, version)
            if version < SCHEMA_VERSION:
                stack.close()
                self._migrate()
                connection = stack.enter_context(self._open(is_read_only=True))
            yield connection

    @contextmanager
    def read_as_it_is(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, int]]:
        """Opens the database to read what is committed, of whatever schema; migrates nothing.

        Yields:
            The connection, and the version of the schema.

        Raises:
            LaionError: it cannot be opened.
            DatabaseBusyError: the file was not free in time; the message names the holder.
        """
        with self._open(is_read_only=True) as connection:
            yield connection, read_database_version(connection)

    def list_columns(self, table: str) -> list[tuple[str, str, bool]]:
        """Returns name, DuckDB type and whether it can be NULL of each column of a table."""
        with self.read() as connection:
            query = load_sql("stores/select_columns")
            return connection.execute(query, {"table": table}).fetchall()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps readers and writers of the project out, for who replaces the file.

        Raises:
            DatabaseBusyError: the file was not free in time; the message names the holder.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._turn(is_read_only=False):
            yield

    def clean(self, keep_days: float) -> None:
        """Removes what is older and no reader sees any more; a file keeps nothing of it."""

    def rewrite(self) -> None:
        """Writes the file anew, in its order: DuckDB keeps the bytes of rows that were deleted.

        Raises:
            DatabaseBusyError: the file was not free in time.
            DiskSpaceError: the disk has no room for a second one.
        """
        check_space(self.path.parent, self.path.stat().st_size, f"writing {self.path.name} anew")
        with self.write():
            # An older schema is migrated first.
            pass
        unfinished = self.path.with_name(f".{self.path.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        with self._turn(is_read_only=False):
            try:
                with closing(duckdb.connect(str(unfinished))) as connection:
                    self._copy_tables(connection, unfinished)
                self.path.with_name(f"{self.path.name}.wal").unlink(missing_ok=True)
                unfinished.replace(self.path)
            finally:
                for path in (unfinished, unfinished.with_name(f"{unfinished.name}.wal")):
                    path.unlink(missing_ok=True)

    def _copy_tables(self, connection: duckdb.DuckDBPyConnection, place: Path) -> None:
        # Writing, so that nobody else has it meanwhile, and its log is part of it.
        attach = load_sql("stores/attach_original").format(
            path=quote_literal(str(self.path)), mode="READ_WRITE"
        )
        try:
            connection.execute(attach)
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            if _is_lock_conflict(error):
                raise _busy(self.path, _holder(error), 0) from None
            raise
        migrate_database(connection, place)
        tables = connection.execute(load_sql("stores/list_tables_of_original")).fetchall()
        for (table,) in tables:
            if table != "schema_version":
                name = "copy_rows_of_original" if table in TABLES else "copy_table_of_original"
                query = load_sql(f"stores/{name}").format(table=quote_identifier(table))
                connection.execute(query)
        connection.execute("CHECKPOINT original")
        connection.execute("DETACH original")
        connection.execute("CHECKPOINT")

    def _migrate(self) -> None:
        try:
            with self.write():
                pass
        except OSError as error:
            raise LaionError(
                f"{self.path}: written by an older version of laion-assets and cannot be migrated "
                f"({error.strerror}); run `laion status` as a user who may write there",
                code="database-not-migratable",
            ) from error

    @contextmanager
    def _open(self, *, is_read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        deadline = time.monotonic() + self.stranger_wait_s
        mode = "READ_ONLY" if is_read_only else "READ_WRITE"
        while True:
            with self._turn(is_read_only=is_read_only), ExitStack() as stack:
                if not is_read_only:
                    note_writer(self.path)
                try:
                    connection = stack.enter_context(
                        attach(str(self.path), mode, f"{self.path}.tmp")
                    )
                except duckdb.Error as error:
                    failure = error
                else:
                    yield connection
                    stack.close()
                    if not is_read_only:
                        forget_writer(self.path)
                    return
            # The turn is given back meanwhile: whom the failure does not disturb goes on.
            if not _is_lock_conflict(failure):
                self._mend(failure)
            elif time.monotonic() >= deadline:
                raise _busy(self.path, _holder(failure), self.stranger_wait_s) from None
            else:
                # Jitter keeps several waiting processes from trying in step.
                time.sleep(random.uniform(0.02, 0.1))  # noqa: S311

    def _mend(self, failure: duckdb.Error) -> None:
        """Mends what made DuckDB refuse the file, or says why it did."""
        try:
            if mend_torn_block(self.path, failure, self.hold):
                return
        except OSError as error:
            raise LaionError(
                f"{self.path}: a program was stopped while it wrote a block, which cannot be "
                f"mended ({error.strerror}); close what has the file open, and run `laion status` "
                "as a user who may write there",
                code="database-not-mendable",
            ) from failure
        reason = find_system_reason(failure, self.path)
        raise LaionError(
            reason or f"{self.path}: {first_line(failure)}", code="database-unreadable"
        ) from failure

    @contextmanager
    def _turn(self, *, is_read_only: bool) -> Iterator[None]:
        lock = self._acquire(is_read_only=is_read_only)
        try:
            yield
        finally:
            if lock is not None:
                lock.release()
                lock.close()

    def _acquire(self, *, is_read_only: bool) -> ReadWriteLock | None:
        """Returns the lock; None for a reader of a folder that it cannot write into.

        Such a reader cannot queue, and DuckDB's own lock keeps writers out while it reads.
        """
        try:
            lock = ReadWriteLock(f"{self.path}.lock", timeout=self.queue_wait_s, is_singleton=False)
            (lock.acquire_read if is_read_only else lock.acquire_write)()
        except Timeout:
            raise _busy(self.path, _find_holder(self.path), self.queue_wait_s) from None
        except OSError as error:
            if is_read_only and error.errno in UNWRITABLE:
                return None
            raise
        return lock


@contextmanager
def attach(place: str, mode: str, spill: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a database in an engine that ran before, if one is idle.

    Args:
        place: path of its file, or `:memory:`.
        mode: READ_ONLY or READ_WRITE.
        spill: a folder for what does not fit into memory.
    """
    engine, started = _find_engine(spill), time.monotonic()
    try:
        query = load_sql("stores/attach_database").format(path=quote_literal(place), mode=mode)
        engine.execute(query)
        with closing(engine.cursor()) as connection:
            connection.execute(load_sql("raw_shards/set_progress_off"))
            connection.execute(load_sql("stores/use_database"))
            yield connection
        engine.execute(load_sql("stores/reset_order"))
    except BaseException:
        engine.close()
        raise
    try:
        engine.execute(load_sql("stores/detach_database"))
    except duckdb.Error:
        # The disk may be full. What was committed is in the log beside the file, and is moved into
        # the file when it is next closed.
        engine.close()
    else:
        if time.monotonic() - started > LONG_S:
            engine.close()
        else:
            _IDLE_ENGINES.append(engine)


def _find_engine(spill: str) -> duckdb.DuckDBPyConnection:
    """Returns an engine that puts what does not fit into memory into this folder."""
    while _IDLE_ENGINES:
        engine = _IDLE_ENGINES.pop()
        try:
            engine.execute(load_sql("stores/set_spill").format(path=quote_literal(spill)))
        except duckdb.Error:
            # One that has used another folder cannot leave it.
            engine.close()
        else:
            return engine
    memory = f"{CORE_MEMORY_MB * (os.cpu_count() or 1)}MB"
    return duckdb.connect(config={"temp_directory": spill, "memory_limit": memory})


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("COMMIT")
    except duckdb.Error as error:
        reason = find_system_reason(error, path)
        raise LaionError(
            reason or f"{path}: {first_line(error)}; check the disk", code="database-commit-failed"
        ) from error


def _is_lock_conflict(error: duckdb.Error) -> bool:
    return "Could not set lock on file" in str(error) or "different configuration" in str(error)


def _find_holder(path: Path) -> str:
    try:
        duckdb.connect(str(path), read_only=True).close()
    except duckdb.Error as error:
        return _holder(error)
    return "other processes of this project"


def _holder(error: duckdb.Error) -> str:
    held = re.search(r"held in (.+? \(PID \d+\))", str(error))
    return held[1] if held else "another process"


def _busy(path: Path, holder: str, wait_s: float) -> DatabaseBusyError:
    return DatabaseBusyError(
        f"{path}: waited {wait_s:g} s for {holder}, which keeps the file open; "
        "close it there, then try again",
        is_passing=True,
        code="database-busy",
    )


def no_database(place: Path | str) -> LaionError:
    """Returns what is said where nothing was loaded yet."""
    return LaionError(
        f"{place}: no database yet; run `laion backfill` first", code="database-missing"
    )


@contextmanager
def open_engine(**config: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a database in memory, to compare or check what is held elsewhere."""
    with closing(duckdb.connect(config=dict(config))) as connection:
        yield connection


@contextmanager
def stream(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Mapping[str, object] | None = None,
    *,
    batch_rows: int = 131_072,
) -> Iterator[pa.RecordBatchReader]:
    """Runs a query whose rows arrive in Arrow batches while it runs, in bounded memory.

    The reader is closed on the way out: DuckDB 2.0 lets one that is not read to its end block
    every other query on the database.
    """
    reader = connection.sql(query, params=parameters).to_arrow_reader(batch_rows)
    try:
        yield reader
    finally:
        reader.close()
