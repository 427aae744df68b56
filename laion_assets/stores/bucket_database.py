"""The tables of DuckDB as Lance tables in a bucket, for several machines.

DuckDB works in memory here. A reader gets a view of each table, at the versions that belong
together (`warehouse_head.py`). A writer gets those that it changes as tables, and leaving the block
puts what has changed into the bucket, all at once for every reader (`warehouse_draft.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from laion_assets.schemas import SCHEMA_VERSION, TABLES, arrow_type
from laion_assets.stores.database import Database, attach, no_database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.migration import read_database_version
from laion_assets.stores.postgres import check_locks
from laion_assets.stores.shard_sums import show_notes
from laion_assets.stores.warehouse_draft import (
    KEPT_IN_PARTS,
    Draft,
    is_kept_by_shards,
    list_tables,
    put_parts,
    read_schema,
    restore,
    show_tables,
)
from laion_assets.stores.warehouse_head import HEAD, Head, commit_head, read_head
from laion_assets.stores.warehouse_migration import migrate_warehouse

if TYPE_CHECKING:
    import duckdb

# The lock of who commits.
TURN = "turn"


@dataclass(frozen=True)
class BucketDatabase(Database):
    """The tables of the project in a bucket.

    Attributes:
        path: where the file would be: what does not fit into memory is written beside it.
        bucket: where the tables are, `s3://<bucket>/<prefix>`.
    """

    bucket: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether other machines load shards into the same tables: here they can."""
        return True

    def exists(self) -> bool:
        """Returns whether anything was committed yet."""
        return self._store.find(HEAD) is not None

    @contextmanager
    def write(
        self, *tables: str, shards: Collection[str] | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Opens the tables to change them; leaving the block commits, an exception does not.

        Who names shards waits for others that write the same ones; only committing takes turns.
        Who names none, or a table that is not kept by shards, has the turn from the start.

        Args:
            tables: those that the block changes; none named: all, which reads all. The block sees
                of a large one the rows of its shards alone.
            shards: those whose rows the block changes; None: any.

        Raises:
            LaionError: a newer version of this project has written the tables, a lock was lost, or
                another process has committed; nothing was committed then.
        """
        store, alone = self._store, self._store.lock(TURN)
        has_turn = shards is None or not all(map(is_kept_by_shards, tables or (HEAD,)))

        def start(stack: ExitStack) -> tuple[duckdb.DuckDBPyConnection, Draft]:
            if shards is not None:
                stack.enter_context(store.lock_shards(shards))
            if has_turn:
                stack.enter_context(alone)
            connection = stack.enter_context(self._open_engine())
            return connection, Draft(connection, store, tables, shards)

        with ExitStack() as stack:
            connection, draft = start(stack)
            if not draft.is_current:
                stack.close()
                self._migrate()
                connection, draft = start(stack)
            yield connection
            draft.write()
            if not has_turn:
                stack.enter_context(alone)
            draft.commit()

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Opens the tables to read what is committed; nobody waits for anybody.

        Those of an older schema are migrated first.

        Raises:
            LaionError: nothing was committed yet, or a newer version of this project has done it.
        """
        with ExitStack() as stack:
            connection, version = stack.enter_context(self.read_as_it_is())
            if version != SCHEMA_VERSION:
                stack.close()
                self._migrate()
                connection, _ = stack.enter_context(self.read_as_it_is())
            yield connection

    @contextmanager
    def read_as_it_is(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, int]]:
        """Does the same, whatever version of this project has written the tables."""
        head = read_head(self._store)
        if head is None:
            raise no_database(self.bucket)
        with self._open_engine() as connection:
            show_tables(connection, self._store, head, list_tables(head))
            show_notes(connection, head.parts, head.notes)
            yield connection, read_database_version(connection)

    def list_columns(self, table: str) -> list[tuple[str, str, bool]]:
        """Returns name, DuckDB type and whether it can be NULL of each column of a table.

        A type that DuckDB writes otherwise than `schemas.py` is given as Arrow's.
        """
        head = read_head(self._store) or Head(0)
        names = {arrow_type(column.type): column.type for column in TABLES[table]}
        return [
            (field.name, names.get(field.type, str(field.type)), field.nullable)
            for field in read_schema(self._store, head, table)
        ]

    def clean(self, keep_days: float, *, is_thorough: bool = False) -> None:
        """Removes what is older and no reader sees any more.

        Args:
            keep_days: for how long it stays.
            is_thorough: whether files that no version names go at once, and not after a week;
                nobody may write meanwhile.
        """
        store = self._store
        with store.lock(TURN):
            if (head := read_head(store)) is None:
                return
            versions = {table: _bring_forward(store, head, table) for table in head.versions}
            if versions != head.versions:
                commit_head(store, replace(head, versions=versions))
            check_locks()
            moment = datetime.now(tz=UTC) - timedelta(days=keep_days)
            for table in (*versions, HEAD):
                # Lance reads all manifests before it removes the first, and each commit leaves one.
                old, dataset = store.list_versions_before(table, moment), store.open(table)
                if is_thorough or old - {dataset.version}:
                    dataset.cleanup_old_versions(
                        timedelta(days=keep_days), delete_unverified=is_thorough
                    )

    def rewrite(self) -> None:
        """Removes all bytes of rows that were deleted; nobody may write meanwhile."""
        self.clean(0, is_thorough=True)

    @property
    def _store(self) -> LanceStore:
        return LanceStore(self.path.with_name("warehouse"), bucket=self.bucket)

    @contextmanager
    def _open_engine(self) -> Iterator[duckdb.DuckDBPyConnection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with attach(":memory:", "READ_WRITE", f"{self.path}.tmp") as connection:
            yield connection

    def _migrate(self) -> None:
        with self._store.lock(TURN):
            migrate_warehouse(self._store)


def _bring_forward(store: LanceStore, head: Head, table: str) -> int:
    """Makes what is committed of a table its newest version; returns that.

    What a transaction left there that was cut off goes, and so do fragments that no shard has.
    """
    version = head.versions[table]
    if table in KEPT_IN_PARTS:
        return put_parts(store, head, table, {})[0]
    if store.open(table).version != version:
        version = restore(store, table, version).version
    return version
