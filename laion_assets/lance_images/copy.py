"""Copies one shard from the DuckDB table `images` to the Lance table of that name."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import duckdb

from laion_assets.errors import StaleTableError
from laion_assets.lance_images.caption_words import CaptionWords
from laion_assets.lance_images.carry import CARRIED, Carrier
from laion_assets.lance_images.indices import index_captions, update_columns
from laion_assets.lance_images.table import Commit, replace_shard
from laion_assets.schemas import LANCE_IMAGES, arrow_schema
from laion_assets.stores.columns import (
    DECLARED,
    ENCODER_MARK,
    ColumnOrder,
    Compute,
    Finish,
    LayoutError,
    NotedColumns,
    add_columns,
    do_nothing,
    forget_shard,
    note_columns,
    read_notes,
)
from laion_assets.stores.database import Database, open_engine, stream
from laion_assets.stores.disk_space import estimate_copy
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import read_load
from laion_assets.stores.migration import migrate_lance
from laion_assets.stores.own_columns import check_table
from laion_assets.stores.read_ahead import read_ahead
from laion_assets.stores.shard_files import list_shard_files
from laion_assets.stores.shard_sums import name_sums
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import lance
    import pyarrow as pa


# So many rows of a shard are sorted at a time.
SORTED_ROWS = 131_072
# Lance writes on one core, and waits for the next batch: DuckDB makes it meanwhile.
BATCHES_AHEAD = 2
# Rows of a shard, and the sum of their ids.
_Sums = tuple[int, int]
_NOTHING: _Sums = (0, 0)


class ShardComparison(NamedTuple):
    """A shard in DuckDB and in Lance.

    Attributes:
        shard: partition key.
        duckdb_rows: its rows in DuckDB.
        lance_rows: its rows in Lance.
        has_same_ids: whether the sums of their ids are the same, in whatever order they stand.
        is_noted: whether Lance has had the present load.
    """

    shard: str
    duckdb_rows: int
    lance_rows: int
    has_same_ids: bool
    is_noted: bool

    @property
    def is_equal(self) -> bool:
        """Whether Lance has the shard as DuckDB has it."""
        return self.is_noted and self.has_same_ids and self.duckdb_rows == self.lance_rows


def copy_shard(database: Database, store: LanceStore, shard: str, run_id: str) -> Commit:
    """Replaces the shard in Lance by its rows in DuckDB, in one commit, and notes that in DuckDB.

    Without the note, as after a crash between commit and note, the shard counts as not copied.

    Raises:
        StaleTableError: DuckDB does not have the shard.
        DiskSpaceError: the disk has no room for it.
        LaionError: somebody changed the columns of the table so that it cannot take the rows.
    """
    store = store.remember()
    if store.ensure("images", arrow_schema(LANCE_IMAGES)):
        # From the start, so that a search before the first release has the same rules.
        index_captions(store.open("images"))
    migrate_lance(store)
    update_columns(store)
    check_table(store)
    schema = _written_schema(store.open("images"))
    with store.lock_shard(shard):
        load_id, commit, carried = _copy(database, store, shard, run_id, schema)
        tables = ("shards", "shard_columns", "pictures")
        with database.write(*tables, shards=[shard]) as connection:
            values = {"load_id": load_id, "lance_version": commit.version}
            connection.execute(load_sql("lance_images/update_lance_version"), values)
            _note_carried(connection, shard, carried, commit.version)
    return commit


def add_shard_columns(
    database: Database,
    store: LanceStore,
    order: ColumnOrder,
    compute: Compute,
    finish: Finish = do_nothing,
) -> NotedColumns:
    """Does what `add_columns` does; a shard that lies in Lance otherwise is copied again first.

    It does if an older version of this project copied it, or if somebody compacted it with its
    neighbours.
    """
    try:
        return add_columns(database, store, order, compute, finish)
    except LayoutError:
        copy_shard(database, store, order.shard, order.run_id)
        return add_columns(database, store, order, compute, finish)


def find_uncopied(
    connection: duckdb.DuckDBPyConnection,
    dataset: lance.LanceDataset | None,
    *,
    is_reading: bool = False,
) -> list[str]:
    """Returns the shards that Lance does not have as DuckDB has them, or has and DuckDB has not.

    Args:
        connection: open for reading.
        dataset: the Lance table `images`; None if there is none.
        is_reading: whether to read the ids of all rows. If not, the names of its files are
            believed, which have the sums of what was written into them, and so is what a bucket
            notes of DuckDB's rows.
    """
    return sorted(
        shard
        for shard, ours, theirs, is_noted in _pair(connection, dataset, is_reading=is_reading)
        if ours != theirs or not is_noted
    )


def compare_shards(
    connection: duckdb.DuckDBPyConnection,
    dataset: lance.LanceDataset | None,
    *,
    is_reading: bool = True,
) -> list[ShardComparison]:
    """Compares every shard that DuckDB or Lance has; by shard. The arguments are as above."""
    return sorted(
        ShardComparison(shard, ours[0], theirs[0], ours[1] == theirs[1], is_noted)
        for shard, ours, theirs, is_noted in _pair(connection, dataset, is_reading=is_reading)
    )


def _pair(
    connection: duckdb.DuckDBPyConnection,
    dataset: lance.LanceDataset | None,
    *,
    is_reading: bool,
) -> Iterator[tuple[str, _Sums, _Sums, bool]]:
    """Yields each shard, its sums in DuckDB and in Lance, and whether Lance has had its load."""
    sums = f"({load_sql('stores/sum_images')})" if is_reading else name_sums(connection, "images")
    query = load_sql("lance_images/select_checksums").format(images=sums)
    ours = connection.execute(query).fetchall()
    known = {} if is_reading else {digest: shard for shard, digest, *_ in ours}
    theirs = {} if dataset is None else _sum_up(dataset, known)
    for shard, _, row_count, id_sum, is_noted in ours:
        yield shard, (row_count, int(id_sum)), theirs.pop(shard, _NOTHING), is_noted
    # Of what is left DuckDB has nothing.
    for shard, left in theirs.items():
        yield shard, _NOTHING, left, False


def _sum_up(dataset: lance.LanceDataset, known: Mapping[str, str]) -> dict[str, _Sums]:
    """Returns the rows of each shard and the sum of their ids.

    Fragments are read that no name describes, or one of another shard than these.

    Args:
        dataset: the Lance table `images`.
        known: shards by their digest.
    """
    found: dict[str, _Sums] = {}
    unnamed = []
    for fragment, named in list_shard_files(dataset):
        shard = None if named is None else known.get(named.digest)
        if named is None or named.id_sum is None or shard is None or fragment.num_deletions:
            unnamed.append(fragment)
        else:
            _add(found, shard, fragment.physical_rows, named.id_sum)
    if unnamed:
        reader = dataset.scanner(columns=["shard", "image_id"], fragments=unnamed).to_reader()
        with open_engine() as engine:
            engine.execute(load_sql("raw_shards/set_progress_off"))
            engine.register("images", reader)
            sums = engine.execute(load_sql("stores/sum_images")).fetchall()
            for shard, row_count, id_sum in sums:
                _add(found, shard, row_count, int(id_sum))
    return found


def _add(sums: dict[str, _Sums], shard: str, row_count: int, id_sum: int) -> None:
    rows, ids = sums.get(shard, _NOTHING)
    sums[shard] = rows + row_count, ids + id_sum


def _written_schema(dataset: lance.LanceDataset) -> pa.Schema:
    """Returns our columns in the order of the table, where added ones come last."""
    import pyarrow as pa

    ours = {column.name for column in LANCE_IMAGES}
    return pa.schema([field for field in dataset.schema if field.name in ours])


def _arrange(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)


def _copy(
    database: Database, store: LanceStore, shard: str, run_id: str, schema: pa.Schema
) -> tuple[str, Commit, list[NotedColumns]]:
    import pyarrow as pa

    with database.read() as connection:
        load = read_load(connection, shard)
        if load is None:
            raise StaleTableError(
                f"shard {shard!r} is not in DuckDB; materialize `images` first",
                code="shard-not-loaded",
            )
        load_id, sha256, image_count, file_rows = load
        counts = connection.execute(load_sql("lance_images/select_image_counts")).fetchall()
        total = sum(count for _, count in counts)
        # Pictures and vectors that rows keep are written again.
        notes = read_notes(connection)
        carried = sum(note.data_bytes for note in notes if note.shard == shard)
        needed = estimate_copy(database.path, image_count, total) + carried
        store.check_space(needed, f"copying shard {shard!r} to Lance")
        # What was only carried over may have been there before this project made any.
        made = {note.column_set for note in notes if note.made_from != CARRIED}
        carrier = Carrier(store, shard, load_id, run_id, _list_declared(notes), made)
        with (
            closing(_read_in_order(connection, shard, file_rows)) as rows,
            closing(read_ahead(_prepare(rows, carrier, schema), BATCHES_AHEAD)) as batches,
        ):
            commit = replace_shard(
                store,
                "images",
                shard,
                pa.RecordBatchReader.from_batches(schema, batches),
                expected_count=image_count,
                properties={
                    "shard": shard,
                    "load_id": load_id,
                    "sha256": sha256,
                    "dagster_run_id": run_id,
                },
                extend=carrier.extend,
            )
    return load_id, replace(commit, losses=tuple(carrier.losses)), carrier.notes


def _read_in_order(
    connection: duckdb.DuckDBPyConnection, shard: str, file_rows: int
) -> Generator[pa.RecordBatch]:
    """Yields the rows of a shard in the order of its file.

    To sort all of them at once takes a gigabyte. DuckDB knows where each range of them lies.
    """
    for first in range(0, file_rows, SORTED_ROWS):
        values = {"shard": shard, "first": first, "end": first + SORTED_ROWS}
        with stream(connection, load_sql("lance_images/select_images"), values) as reader:
            yield from reader


def _prepare(
    rows: Iterable[pa.RecordBatch], carrier: Carrier, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    words = CaptionWords()
    for batch in map(carrier.see, rows):
        # DuckDB calls every column nullable; the values are the same.
        yield _arrange(batch.append_column("caption_words", words.write(batch["caption"])), schema)


def _list_declared(notes: Iterable[NotedColumns]) -> set[str]:
    """Returns the columns that are declared, which are made again for each load."""
    sets = {note.column_set for note in notes}
    return {name.removeprefix(DECLARED) for name in sets if name.startswith(DECLARED)}


def _note_carried(
    connection: duckdb.DuckDBPyConnection,
    shard: str,
    carried: list[NotedColumns],
    lance_version: int,
) -> None:
    """Makes DuckDB say of columns that came later what Lance has of them now.

    Values that are the same in each row are still what they were made from, as after another load
    of the same file.
    """
    known = {note.column_set: note for note in read_notes(connection) if note.shard == shard}
    forget_shard(connection, shard)
    for note in carried:
        before = known.get(note.column_set)
        if before and before.lance_version is not None and before.digest == note.digest:
            note = replace(note, made_from=before.made_from)  # noqa: PLW2901 - the same values
        elif before and before.encoder:
            made_from = f"{CARRIED}{ENCODER_MARK}{before.encoder} {before.encoder_name}"
            note = replace(note, made_from=made_from)  # noqa: PLW2901 - some of the values
        note_columns(connection, replace(note, lance_version=lance_version))
    is_carried = any(note.column_set == "pictures" for note in carried)
    values = {"shard": shard}
    connection.execute(load_sql("pictures/create_carried"), {**values, "is_carried": is_carried})
    connection.execute(load_sql("pictures/delete_pictures"), values)
    connection.execute(load_sql("pictures/insert_carried"))
    connection.execute(load_sql("pictures/drop_carried"))
