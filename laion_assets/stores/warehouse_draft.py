"""What a transaction makes of the warehouse's Lance tables, and how it gets there.

Large tables are kept by shards: a commit adds the fragments of the shards that it changes, and
`head` says which count. The others are small and written whole.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from laion_assets.schemas import SCHEMA_VERSION, TABLES, arrow_schema
from laion_assets.stores.database import stream
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.migration import read_database_version
from laion_assets.stores.postgres import check_locks
from laion_assets.stores.shard_parts import join_parts
from laion_assets.stores.shard_sums import note_sums
from laion_assets.stores.sql import create_table, load_sql, quote_identifier
from laion_assets.stores.warehouse_head import Head, commit_head, overtaken, read_head

if TYPE_CHECKING:
    import duckdb
    import lance
    import pyarrow as pa
    import pyarrow.dataset as pds
    from lance.fragment import FragmentMetadata

# Those of which each shard has many rows.
KEPT_IN_PARTS = frozenset(
    {"images", "rejected_images", "shard_domains", "caption_matches", "pictures"}
)
# Says of which schema all tables are.
VERSION_TABLE = "schema_version"
# Lance's own measure.
MAX_FRAGMENT_ROWS = 1_048_576
# As many tables of one state, and of the one before.
_OPEN_VERSIONS = 64
# Rows of a shard, and a number made from them.
_Digest = tuple[int, int]


def is_kept_by_shards(table: str) -> bool:
    """Returns whether each row of a table belongs to a shard."""
    return any(column.name == "shard" for column in TABLES.get(table, ()))


def show_tables(
    connection: duckdb.DuckDBPyConnection, store: LanceStore, head: Head, tables: Collection[str]
) -> None:
    """Gives a connection views of tables as they are committed.

    Lists of names are copied: they are short, and DuckDB is asked whether there is such a table.
    """
    for table in tables:
        way = "view" if table in TABLES else "copy"
        _show(connection, table, way, _find_rows(store, head, table))


def list_tables(head: Head) -> list[str]:
    """Returns the tables that there are, those without rows among them."""
    return [*TABLES, *sorted(head.versions.keys() - TABLES.keys())]


def read_schema(store: LanceStore, head: Head, table: str) -> pa.Schema:
    """Returns the columns of a table as they are in the bucket."""
    return _find_rows(store, head, table).schema


class Draft:
    """The tables that a transaction changes, as DuckDB has them in memory.

    Attributes:
        is_current: whether what is committed has this version's schema. If not, it has to be
            migrated first, and this has no table that can be changed.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        store: LanceStore,
        tables: Collection[str],
        shards: Collection[str] | None,
    ) -> None:
        """Gives the connection all tables, those to be changed as tables of its own.

        Args:
            connection: DuckDB without any table.
            store: the warehouse.
            tables: those that may be changed; none: all.
            shards: those whose rows may be changed; None: all.
        """
        self._connection = connection
        self._store = store
        self._shards = shards
        self._digests: dict[str, dict[str, _Digest]] = {}
        self._fragments: dict[str, dict[str, list[FragmentMetadata]]] = {}
        self._notes: dict[str, dict[str, str]] = {}
        self._rows: dict[str, pa.Table] = {}
        head = read_head(store) or Head(0)
        self._versions = head.versions
        there = list_tables(head)
        self._fixed = set(there) - set(tables) if tables else {VERSION_TABLE}
        show_tables(connection, store, head, [table for table in there if table in self._fixed])
        self.is_current = head.number == 0 or read_database_version(connection) == SCHEMA_VERSION
        for table in there:
            if self.is_current and table not in self._fixed:
                self._fill(head, table)

    def write(self) -> None:
        """Writes the rows of large tables into fragments that nobody sees yet."""
        for table in self._list_changeable():
            if table in KEPT_IN_PARTS:
                self._write_parts(table)
            else:
                self._rows[table] = self._gather(table)

    def commit(self) -> None:
        """Puts what has changed on top of what is committed now. Nobody else may commit meanwhile.

        Raises:
            LaionError: somebody else has; nothing of this is visible then.
        """
        import pyarrow as pa

        head = read_head(self._store) or Head(0)
        versions, parts, notes = dict(head.versions), dict(head.parts), dict(head.notes)
        if VERSION_TABLE not in versions:
            rows = pa.table({"version": [SCHEMA_VERSION]}, arrow_schema(TABLES[VERSION_TABLE]))
            versions[VERSION_TABLE] = self._store.overwrite(VERSION_TABLE, rows).version
        for table, changed in self._fragments.items():
            if changed:
                versions[table], parts[table] = put_parts(self._store, head, table, changed)
                kept = {s: n for s, n in notes.get(table, {}).items() if s not in changed}
                notes[table] = kept | self._notes[table]
        for table, rows in self._rows.items():
            before = _read_whole(self._store, head, table)
            after = self._merge(table, before, rows)
            if before is None or not after.equals(before):
                versions[table] = self._store.overwrite(table, after).version
        if versions != head.versions or parts != head.parts:
            commit_head(self._store, Head(head.number, versions, parts, notes))

    def _fill(self, head: Head, table: str) -> None:
        rows = _find_rows(self._store, head, table, self._shards)
        if table not in TABLES:
            _show(self._connection, table, "copy", rows)
            return
        self._connection.execute(create_table(table, TABLES[table]))
        _show(self._connection, table, "fill", rows)
        if table in KEPT_IN_PARTS:
            self._digests[table] = self._digest(table)

    def _list_changeable(self) -> list[str]:
        """Returns the tables that may have changed, new ones among them."""
        rows = self._connection.execute(load_sql("stores/warehouse_tables")).fetchall()
        return [table for (table,) in rows if table not in self._fixed]

    def _digest(self, table: str) -> dict[str, _Digest]:
        query = load_sql("stores/warehouse_digest").format(table=quote_identifier(table))
        rows = self._connection.execute(query).fetchall()
        return {shard: (row_count, digest) for shard, row_count, digest in rows}

    def _write_parts(self, table: str) -> None:
        before, after = self._digests[table], self._digest(table)
        changed = sorted(s for s in before.keys() | after.keys() if before.get(s) != after.get(s))
        assert self._shards is None or set(changed) <= set(self._shards), (table, changed)
        if not after.keys().isdisjoint(changed):
            self._store.ensure(table, arrow_schema(TABLES[table]))
        schema = self._order(table)
        self._fragments[table] = {
            shard: self._write_part(table, shard, schema) if shard in after else []
            for shard in changed
        }
        self._notes[table] = note_sums(self._connection, table, changed)

    def _order(self, table: str) -> pa.Schema:
        """Returns the columns in the order of the table in the bucket: added ones come last."""
        import pyarrow as pa

        schema, version = arrow_schema(TABLES[table]), self._versions.get(table)
        if version is None:
            return schema
        names = _open_version(self._store, table, version).schema.names
        return pa.schema([schema.field(name) for name in names])

    def _write_part(self, table: str, shard: str, schema: pa.Schema) -> list[FragmentMetadata]:
        import pyarrow as pa

        names = ", ".join(map(quote_identifier, schema.names))
        query = load_sql("stores/warehouse_rows").format(
            table=quote_identifier(table), columns=names
        )
        with stream(self._connection, query, {"shard": shard}) as reader:
            # DuckDB calls every column nullable; the values are the same.
            batches = (pa.record_batch(batch.columns, schema=schema) for batch in reader)
            rows = pa.RecordBatchReader.from_batches(schema, batches)
            return self._store.write_fragments(table, rows, MAX_FRAGMENT_ROWS)

    def _gather(self, table: str) -> pa.Table:
        query = load_sql("stores/warehouse_all").format(table=quote_identifier(table))
        rows = self._connection.sql(query).to_arrow_table()
        return rows.cast(arrow_schema(TABLES[table])) if table in TABLES else rows

    def _merge(self, table: str, before: pa.Table | None, rows: pa.Table) -> pa.Table:
        """Returns the rows that a small table is to have: other shards may have changed since."""
        if before is None or self._shards is None or not is_kept_by_shards(table):
            return rows
        ours = _take_rows_of(rows, self._shards)
        if ours.equals(_take_rows_of(before, self._shards)):
            return before
        import pyarrow as pa

        return pa.concat_tables([_take_rows_of(before, self._shards, is_without=True), ours])


def put_parts(
    store: LanceStore,
    head: Head,
    table: str,
    changed: Mapping[str, Sequence[FragmentMetadata]],
) -> tuple[int, dict[str, tuple[int, ...]]]:
    """Commits the fragments of some shards to a table, which no reader sees before `commit_head`.

    Fragments that no shard has any more, and those of transactions that were cut off, go.

    Returns:
        The version, and the fragments of each shard in it.

    Raises:
        LaionError: another process commits to the table.
    """
    import lance

    parts = dict(head.parts.get(table, {}))
    used = {number for numbers in parts.values() for number in numbers}
    dataset = store.open(table)
    if not used <= {fragment.fragment_id for fragment in dataset.get_fragments()}:
        # Another process has lost its lock, and took out what was not committed when it looked.
        dataset = restore(store, table, head.versions[table])
    there = [fragment.fragment_id for fragment in dataset.get_fragments()]
    unused = [number for number in there if number not in used]
    added = [fragment for fragments in changed.values() for fragment in fragments]
    version = head.versions.get(table, dataset.version)
    numbers: list[int] = []
    if unused or added:
        operation = lance.LanceOperation.Update(
            removed_fragment_ids=unused, updated_fragments=[], new_fragments=added
        )
        after = store.commit(table, lance.Transaction(dataset.version, operation))
        version = after.version
        numbers = sorted({f.fragment_id for f in after.get_fragments()} - set(there))
        if version != dataset.version + 1 or len(numbers) != len(added):
            raise overtaken(store)
    for shard, fragments in changed.items():
        own, numbers = numbers[: len(fragments)], numbers[len(fragments) :]
        parts.pop(shard, None)
        if own:
            parts[shard] = tuple(own)
    return version, parts


def restore(store: LanceStore, table: str, version: int) -> lance.LanceDataset:
    """Makes a version of a table its newest one again; returns that."""
    check_locks()
    store.open(table, version).restore()  # type: ignore[no-untyped-call]
    return store.open(table)


def _show(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    way: str,
    rows: pa.Table | pds.Dataset,
) -> None:
    """Gives a connection the rows of a table, as a view or a copy, or fills the table with them."""
    stored = f"stored.{table}"
    connection.register(stored, rows)
    names = {"table": quote_identifier(table), "stored": quote_identifier(stored)}
    connection.execute(load_sql(f"stores/warehouse_{way}").format(**names))


def _find_rows(
    store: LanceStore, head: Head, table: str, shards: Collection[str] | None = None
) -> pa.Table | pds.Dataset:
    """Returns what is committed of a table; of a large one, if they are named, of these shards."""
    version = head.versions.get(table)
    if version is None:
        return arrow_schema(TABLES[table]).empty_table()
    if table not in TABLES:
        return _read_version(store, table, version)
    dataset = _open_version(store, table, version)
    if table not in KEPT_IN_PARTS:
        return dataset
    parts = head.parts.get(table, {})
    return join_parts(dataset, {s: n for s, n in parts.items() if shards is None or s in shards})


def _read_whole(store: LanceStore, head: Head, table: str) -> pa.Table | None:
    """Returns what is committed of a small table; None of a list of names that is not there yet."""
    version = head.versions.get(table)
    if version is None:
        return arrow_schema(TABLES[table]).empty_table() if table in TABLES else None
    return _read_version(store, table, version)


@lru_cache(maxsize=_OPEN_VERSIONS)
def _open_version(store: LanceStore, table: str, version: int) -> lance.LanceDataset:
    return store.open(table, version)


def _read_version(store: LanceStore, table: str, version: int) -> pa.Table:
    return _open_version(store, table, version).to_table()


def _take_rows_of(rows: pa.Table, shards: Collection[str], *, is_without: bool = False) -> pa.Table:
    """Returns the rows of some shards, or all others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    is_one = pc.is_in(rows["shard"], value_set=pa.array(sorted(shards), pa.string()))
    return rows.filter(pc.invert(is_one) if is_without else is_one)
