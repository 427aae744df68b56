"""Adds columns to the rows of one shard in the Lance table `images`, without rewriting the rest.

All fragments of the shard get their data files in one commit (`DataReplacement`), so every version
of the table has the columns of a shard whole or not at all. Writing takes no lock of the shard: a
load that replaces it meanwhile goes first, and the commit is then refused. What is in Lance is
noted in DuckDB, in `shard_columns`; a note without a version of Lance stands from just before the
commit until just after it, so that a crash between the two cannot hide what was written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from laion_assets.errors import StaleTableError
from laion_assets.stores.column_digest import ColumnDigest
from laion_assets.stores.column_files import (
    ColumnFiles,
    ColumnSet,
    RowSpan,
    write_column_files,
)
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import list_loaded
from laion_assets.stores.migration import add_to_lance
from laion_assets.stores.shard_fragments import find_fragments, select_shards
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import lance
    import pyarrow as pa
    from lance.fragment import DataFile, LanceFragment

# In front of the name of a declared column, the name of its set.
DECLARED = "declared."
# Another commit between our look at the table and ours makes us look again.
COMMIT_ATTEMPTS = 20
KEY_BATCH_ROWS = 1024
# Lance's name for where a row is.
ADDRESS = "_rowaddr"
# What `made_from` ends with where an encoder made values, before its digest and its name.
ENCODER_MARK = "|encoder "
# Before that, in front of the digest of the pictures that it saw.
PICTURES_MARK = "|pictures "
# Gets columns of the rows in batches, and returns the new columns of the same rows, in any batches.
Compute = Callable[["Iterator[pa.RecordBatch]"], "Iterator[pa.RecordBatch]"]
# Writes what belongs to the columns into DuckDB.
Finish = Callable[["duckdb.DuckDBPyConnection"], None]


class LayoutError(StaleTableError):
    """A shard has no fragments of its own, or its rows are not in the order of the file.

    An older version of this project, or a compaction, left it so; copying it again helps.
    """


def read_encoder(made_from: str) -> tuple[str | None, str | None]:
    """Returns digest and name of the encoder that `made_from` names; None for each if none does."""
    digest, _, name = made_from.partition(ENCODER_MARK)[2].partition(" ")
    return digest or None, name or None


@dataclass(frozen=True)
class NotedColumns:
    """What DuckDB notes of a set of columns of a shard; see `schemas.SHARD_COLUMNS`."""

    shard: str
    column_set: str
    load_id: str
    made_from: str
    value_count: int
    data_bytes: int
    digest: str
    lance_version: int | None
    run_id: str
    made_at: datetime | None = None

    @property
    def given_from(self) -> str:
        """What the values are made from but for an encoder and its pictures."""
        return self.made_from.partition(ENCODER_MARK)[0].partition(PICTURES_MARK)[0]

    @property
    def seen_pictures(self) -> str | None:
        """The digest of the pictures that an encoder saw; None if none did, or nobody knows."""
        return self.made_from.partition(ENCODER_MARK)[0].partition(PICTURES_MARK)[2] or None

    @property
    def encoder(self) -> str | None:
        """The digest of the encoder that made some of the values; None if none did."""
        return read_encoder(self.made_from)[0]

    @property
    def encoder_name(self) -> str | None:
        """What the encoder was called: `demo`, its place on the Hub, or the name of its folder."""
        return read_encoder(self.made_from)[1]


@dataclass(frozen=True)
class ColumnOrder:
    """Which columns of which shard are to be written.

    Attributes:
        shard: partition key; its present load is in Lance.
        columns: what to write.
        keys: columns of the table that `compute` needs of each row, `ADDRESS` among them if it
            takes rows from the table; `row_index` is ascending.
        made_from: names what the values are made from, content and rules: another word, other
            values.
        run_id: the Dagster run, for provenance.
        batch_rows: rows that `compute` gets at a time; fewer where the keys are large.
        tables: of DuckDB, in which rows of the shard belong to the columns.
    """

    shard: str
    columns: ColumnSet
    keys: Sequence[str]
    made_from: str
    run_id: str
    batch_rows: int | None = None
    tables: tuple[str, ...] = ()


def do_nothing(_: duckdb.DuckDBPyConnection) -> None:
    """For columns to which nothing in DuckDB belongs."""


def add_columns(
    database: Database,
    store: LanceStore,
    order: ColumnOrder,
    compute: Compute,
    finish: Finish = do_nothing,
) -> NotedColumns:
    """Writes a set of columns of a shard in one commit, and notes that in DuckDB.

    What is there of these columns for the shard is replaced; other columns, other shards and
    indices stay as they are.

    Args:
        database: the tables.
        store: the Lance tables.
        order: what to write.
        compute: makes the values.
        finish: writes what belongs to the columns into DuckDB, in the transaction of the note.

    Returns:
        The note.

    Raises:
        StaleTableError: Lance does not have the shard's present load, or another load replaced it
            meanwhile; nothing was committed.
        LayoutError: the shard has to be copied to Lance again first.
        LaionError: the table has such a column of another type, or the values are not as many as
            the rows.
    """
    shard, columns = order.shard, order.columns
    with store.lock_columns(shard, columns.name):
        load_id = _read_load(database, shard)
        add_to_lance(store, columns.schema)
        dataset = store.open("images")
        fragments = [_fragment(dataset, number) for number in find_fragments(dataset, shard)]
        spans = _measure(dataset, fragments, shard)
        folder = store.staging_folder(shard, columns.name)
        try:
            files = write_column_files(
                folder,
                columns,
                spans,
                compute(_read_keys(dataset, fragments, order)),
                dataset.data_storage_version,
            )
            note = _make_note(order, load_id, files)
            # A copy of the shard goes before this or after it, and carries the columns over.
            with store.lock_shard(shard):
                _note_start(database, note)
                version = _commit(store, fragments, files, note)
                note = replace(note, lance_version=version)
                tables = ("shard_columns", *order.tables)
                with database.write(*tables, shards=[shard]) as connection:
                    note_columns(connection, note)
                    finish(connection)
        finally:
            store.remove_staging(folder)
    return note


def note_columns(connection: duckdb.DuckDBPyConnection, note: NotedColumns) -> None:
    """Replaces the note of a set of columns of a shard, within the transaction of the caller."""
    forget_columns(connection, note.shard, note.column_set)
    values = vars(note) | {}
    del values["made_at"]
    connection.execute(load_sql("stores/insert_shard_columns"), values)


def forget_columns(connection: duckdb.DuckDBPyConnection, shard: str, column_set: str) -> None:
    """Removes the note of a set of columns, which the shard has no more."""
    values = {"shard": shard, "column_set": column_set}
    connection.execute(load_sql("stores/delete_shard_columns"), values)


def forget_shard(connection: duckdb.DuckDBPyConnection, shard: str) -> None:
    """Removes the notes of all columns of a shard that is removed for good."""
    connection.execute(load_sql("stores/delete_columns_of_shard"), {"shard": shard})


def read_notes(connection: duckdb.DuckDBPyConnection) -> list[NotedColumns]:
    """Returns what is noted of every set of columns, by shard and set."""
    rows = connection.execute(load_sql("stores/select_shard_columns")).fetchall()
    return [NotedColumns(*row) for row in rows]


def drop_columns(
    database: Database, store: LanceStore, column_set: str, names: Sequence[str]
) -> None:
    """Drops a set of columns of all shards, with what is noted of it; it may be gone already.

    Cut off, it leaves notes without a version of Lance, and is just done again.
    """
    with database.read() as connection:
        shards = list_loaded(connection)
    values = {"column_set": column_set}
    with store.lock_shards(shards):
        with database.write("shard_columns") as connection:
            connection.execute(load_sql("stores/unfinish_column_set"), values)
        dataset = store.open("images")
        if present := [name for name in names if name in dataset.schema.names]:
            dataset.drop_columns(present)
        with database.write("shard_columns") as connection:
            connection.execute(load_sql("stores/delete_column_set"), values)


def find_schema(dataset: lance.LanceDataset, names: Sequence[str]) -> pa.Schema | None:
    """Returns columns of the table with the types that they have; None if it lacks one."""
    import pyarrow as pa

    types = dict(zip(dataset.schema.names, dataset.schema.types, strict=True))
    if not types.keys() >= set(names):
        return None
    return pa.schema([pa.field(name, types[name]) for name in names])


def measure_columns(dataset: lance.LanceDataset, shard: str, schema: pa.Schema) -> tuple[int, str]:
    """Reads columns of a shard; returns how many rows have them, and the digest of their values.

    A note says both, unless its writer died between the commit and the note.
    """
    digest, value_count = ColumnDigest(schema), 0
    numbers = find_fragments(dataset, shard)
    scanner = dataset.scanner(
        columns=schema.names,
        fragments=[_fragment(dataset, number) for number in numbers],
        filter=select_shards([shard]),
        batch_size=KEY_BATCH_ROWS // 4,
        batch_readahead=2,
        fragment_readahead=1,
        io_buffer_size=64 << 20,
        scan_in_order=True,
    )
    for batch in scanner.to_batches() if numbers else ():
        digest.add(batch)
        value_count += len(batch) - batch.column(0).null_count
    return value_count, digest.hexdigest()


def _read_load(database: Database, shard: str) -> str:
    with database.read() as connection:
        return _find_load(connection, shard)


def _find_load(connection: duckdb.DuckDBPyConnection, shard: str) -> str:
    query = load_sql("stores/select_copied_load")
    loads = connection.execute(query, {"shard": shard}).fetchall()
    if not loads:
        raise StaleTableError(
            f"shard {shard!r}: Lance does not have its newest load; materialize `lance_images`",
            code="shard-not-copied",
        )
    ((load_id,),) = loads
    return str(load_id)


def _fragment(dataset: lance.LanceDataset, number: int) -> LanceFragment:
    fragment = dataset.get_fragment(number)
    assert fragment is not None
    return fragment


def _measure(
    dataset: lance.LanceDataset, fragments: Sequence[LanceFragment], shard: str
) -> list[RowSpan]:
    """Returns where the rows of the fragments are.

    Raises:
        LayoutError: they are not in the order of the shard's file, or not all of this shard.
    """
    import numpy as np
    import pyarrow.compute as pc

    spans, last = [], -1
    for fragment in fragments:
        offsets = []
        scanner = dataset.scanner(
            columns=["shard", "row_index"],
            fragments=[fragment],
            with_row_address=True,
            scan_in_order=True,
        )
        for batch in scanner.to_batches():
            rows = np.concatenate([[last], batch["row_index"].to_numpy()])
            is_own = pc.all(pc.equal(batch["shard"], shard)).as_py()
            if not (is_own and bool((np.diff(rows) > 0).all())):
                raise LayoutError(
                    f"shard {shard!r}: its rows in Lance are mixed with other shards or not in the "
                    "order of the file; materialize `lance_images` again",
                    code="shard-layout-unknown",
                )
            last = int(rows[-1])
            # The low half of an address is the place in the fragment.
            offsets.append(batch["_rowaddr"].to_numpy().astype(np.int64) & 0xFFFFFFFF)
        deleted = fragment.num_deletions
        rows_there = np.concatenate(offsets) if deleted and offsets else None
        spans.append(RowSpan(fragment.physical_rows, rows_there))
    return spans


def _read_keys(
    dataset: lance.LanceDataset, fragments: Sequence[LanceFragment], order: ColumnOrder
) -> Iterator[pa.RecordBatch]:
    for fragment in fragments:
        # Lance would else read far ahead, which is gigabytes where a key is a picture.
        scanner = dataset.scanner(
            columns=[key for key in order.keys if key != ADDRESS],
            with_row_address=ADDRESS in order.keys,
            fragments=[fragment],
            batch_size=order.batch_rows or KEY_BATCH_ROWS,
            batch_readahead=2,
            fragment_readahead=1,
            io_buffer_size=64 << 20,
            scan_in_order=True,
        )
        yield from scanner.to_batches()


def _make_note(order: ColumnOrder, load_id: str, files: ColumnFiles) -> NotedColumns:
    return NotedColumns(
        shard=order.shard,
        column_set=order.columns.name,
        load_id=load_id,
        made_from=order.made_from,
        value_count=files.value_count,
        data_bytes=files.data_bytes,
        digest=files.digest,
        lance_version=None,
        run_id=order.run_id,
    )


def _note_start(database: Database, note: NotedColumns) -> None:
    """Notes that a commit is on its way.

    Raises:
        StaleTableError: the shard was loaded again meanwhile.
    """
    with database.write("shard_columns", shards=[note.shard]) as connection:
        if _find_load(connection, note.shard) != note.load_id:
            raise _replaced(note.shard)
        note_columns(connection, note)


def _replaced(shard: str) -> StaleTableError:
    return StaleTableError(
        f"shard {shard!r}: another load replaced it meanwhile; run it again",
        is_passing=True,
        code="shard-replaced",
    )


def _commit(
    store: LanceStore, fragments: Sequence[LanceFragment], files: ColumnFiles, note: NotedColumns
) -> int:
    from lance.commit import CommitConflictError

    dataset = store.open("images")
    if not fragments:
        return dataset.version
    _check_there(dataset, fragments, files, note.shard)
    installed = files.install(store, dataset)
    for attempt in range(1, COMMIT_ATTEMPTS + 1):
        try:
            return _commit_once(store, dataset, fragments, installed, _describe(note, files))
        except CommitConflictError:
            if attempt == COMMIT_ATTEMPTS:
                raise
        dataset = store.open("images")
        _check_there(dataset, fragments, files, note.shard)
    raise AssertionError("unreachable")


def _commit_once(
    store: LanceStore,
    dataset: lance.LanceDataset,
    fragments: Sequence[LanceFragment],
    files: Sequence[DataFile],
    properties: Mapping[str, str],
) -> int:
    import lance

    groups = [
        lance.LanceOperation.DataReplacementGroup(fragment.fragment_id, file)
        for fragment, file in zip(fragments, files, strict=True)
    ]
    transaction = lance.Transaction(
        dataset.version,
        lance.LanceOperation.DataReplacement(groups),
        transaction_properties=dict(properties),
    )
    return store.commit("images", transaction).version


def _check_there(
    dataset: lance.LanceDataset,
    fragments: Sequence[LanceFragment],
    files: ColumnFiles,
    shard: str,
) -> None:
    """Checks that fragments and columns are still in the table.

    A load or a compaction takes fragments out, and somebody may put another column in place of one.

    Raises:
        StaleTableError: one is not.
    """
    types = dict(zip(dataset.schema.names, dataset.schema.types, strict=True))
    for field in files.columns.schema:
        if types.get(field.name) != field.type:
            raise StaleTableError(
                f"shard {shard!r}: column `{field.name}` of the table became another one "
                "meanwhile; run it again",
                code="column-replaced",
                is_passing=True,
            )
    for fragment in fragments:
        if dataset.get_fragment(fragment.fragment_id) is None:
            raise _replaced(shard)


def _describe(note: NotedColumns, files: ColumnFiles) -> dict[str, str]:
    """Returns what the commit says of itself."""
    return {
        "shard": note.shard,
        "load_id": note.load_id,
        "column_set": note.column_set,
        "columns": json.dumps(files.columns.schema.names),
        "made_from": note.made_from,
        "row_count": str(files.row_count),
        "value_count": str(note.value_count),
        "digest": note.digest,
        "dagster_run_id": note.run_id,
    }
