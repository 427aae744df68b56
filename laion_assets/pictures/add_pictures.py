"""Adds the pictures that a shard brings to its rows in Lance, and notes what became of each row.

Bytes are kept as they are. A row whose picture the shard does not bring keeps the one that it has
from before, so that a new load, or a source that lost pictures, takes none away.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from laion_assets.errors import StaleTableError
from laion_assets.lance_images.copy import copy_shard
from laion_assets.pictures.examine import Examination, examine
from laion_assets.pictures.given import open_given
from laion_assets.schemas import LANCE_PICTURES, arrow_schema
from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import (
    ADDRESS,
    ColumnOrder,
    LayoutError,
    NotedColumns,
    add_columns,
    read_notes,
)
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

COLUMN_SET = "pictures"
# Raise it when the same file gives other values than before.
RULES_VERSION = 1
SUCCESS, UNDECODABLE, NOT_GIVEN = "success", "undecodable", "not_given"
GIVEN = "given"
# What is known of the pictures that rows have from before; so many of these are held.
KNOWN = tuple(column.name for column in LANCE_PICTURES if column.name != "image")
KEPT_BATCH_ROWS = 64


def name_origin(raw: RawShard) -> str:
    """Returns what the pictures of a shard are made from, as `shard_columns` notes it."""
    return f"{raw.sha256}|{raw.archive_sha256 or 'no archive'}|{GIVEN} {RULES_VERSION}"


@dataclass
class _Facts:
    """What DuckDB gets of the rows: a batch for each that went to Lance."""

    batches: list[pa.RecordBatch] = field(default_factory=list)


def add_pictures(
    database: Database, store: LanceStore, raws: RawStore, shard: str, run_id: str
) -> NotedColumns:
    """Writes the pictures of a shard in one commit.

    Args:
        database: the tables.
        store: the Lance tables.
        raws: the verified files.
        shard: partition key.
        run_id: the Dagster run, for provenance.

    Returns:
        What is noted of them: how many, and how large.

    Raises:
        StaleTableError: the shard's present file is not loaded and copied, or was replaced
            meanwhile.
        ShardError: the file or the archive beside it cannot be read.
    """
    raw = raws.read(shard)
    with database.read() as connection:
        _check_loaded(connection, raw)
        notes = [n for n in read_notes(connection) if n.column_set == COLUMN_SET]
    has_some = any(note.shard == shard and note.data_bytes for note in notes)
    facts = _Facts()

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        facts.batches.clear()
        return _make_pictures(raw, raws, keys, facts, store)

    def finish(connection: duckdb.DuckDBPyConnection) -> None:
        _store_facts(connection, shard, facts)

    schema = arrow_schema(LANCE_PICTURES)
    order = ColumnOrder(
        shard=shard,
        columns=ColumnSet(COLUMN_SET, schema),
        keys=("row_index", "image_id", *((ADDRESS, *KNOWN) if has_some else ())),
        made_from=name_origin(raw),
        run_id=run_id,
        batch_rows=KEPT_BATCH_ROWS if has_some else None,
    )
    try:
        return add_columns(database, store, order, compute, finish)
    except LayoutError:
        # Of an older version of this project, or compacted with its neighbours.
        copy_shard(database, store, shard, run_id)
        return add_columns(database, store, order, compute, finish)


def _check_loaded(connection: duckdb.DuckDBPyConnection, raw: RawShard) -> None:
    query = load_sql("lance_images/select_load")
    loads = connection.execute(query, {"shard": raw.shard}).fetchall()
    if not any(sha256 == raw.sha256 for _, sha256, _ in loads):
        raise StaleTableError(
            f"shard {raw.shard!r}: DuckDB does not have its present file; materialize `images`"
        )


def _make_pictures(
    raw: RawShard,
    raws: RawStore,
    keys: Iterator[pa.RecordBatch],
    facts: _Facts,
    store: LanceStore,
) -> Iterator[pa.RecordBatch]:
    archive = raws.archive_path(raw.shard) if raw.archive_sha256 else None
    with ExitStack() as stack:
        # Pillow warns of what it reads anyway.
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        given = stack.enter_context(open_given(raws.path(raw.shard), archive))
        for batch in keys:
            done = 0
            for part in given.take(batch["row_index"].to_numpy()):
                rows = batch.slice(done, len(part))
                done += len(part)
                made, known = _judge(rows, part, pool, store)
                facts.batches.append(known)
                yield made


def _judge(
    rows: pa.RecordBatch, given: pa.RecordBatch, pool: ThreadPoolExecutor, store: LanceStore
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Returns what Lance gets of some rows, and what DuckDB gets.

    Args:
        rows: the rows as they are in Lance.
        given: what the shard's file says of them.
        pool: decodes.
        store: has the pictures that rows keep.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    images = given["image"]
    found = pool.map(examine, (i.as_py() for i in images.drop_null()))
    results = [next(found) if is_there else None for is_there in images.is_valid().to_pylist()]
    is_good = pa.array([r is not None and r.error is None for r in results], pa.bool_())
    is_kept = pa.array([False] * len(rows), pa.bool_())
    if ADDRESS in rows.schema.names:
        # A picture has a hash, which is quicker read than the picture.
        is_kept = pc.and_(pc.invert(is_good), rows["picture_sha256"].is_valid())
    texts = zip(given["status"].to_pylist(), given["error_message"].to_pylist(), strict=True)
    verdicts = [_name_status(r, *text) for r, text in zip(results, texts, strict=True)]
    new = {
        **{name: given[name] for name in given.schema.names},
        "image": pc.if_else(is_good, images, None),
        "status": pa.array([status for status, _ in verdicts], pa.string()),
        "error_message": pa.array([message for _, message in verdicts], pa.string()),
        "picture_sha256": pa.array([r and r.sha256 for r in results], pa.string()),
        "phash": pa.array([r and r.phash for r in results], pa.int64()),
    }
    schema = arrow_schema(LANCE_PICTURES)
    columns = [new[name] for name in schema.names]
    if is_kept.true_count:
        kept = _take_pictures(store, rows[ADDRESS], is_kept)
        old = [kept if name == "image" else rows[name] for name in schema.names]
        columns = [pc.if_else(is_kept, o, n) for o, n in zip(old, columns, strict=True)]
    made = pa.RecordBatch.from_arrays(columns, schema=schema)
    return made, _describe(rows, made, is_kept, results)


def _take_pictures(store: LanceStore, addresses: pa.Array, is_kept: pa.Array) -> pa.Array:
    """Returns the pictures that rows have, NULL for those that do not keep theirs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    taken = store.open("images")._take_rows(addresses.filter(is_kept), columns=["image"])
    images = taken["image"].combine_chunks()
    if len(images) != is_kept.true_count:
        raise StaleTableError(
            "rows were replaced while their pictures were read; run it again", is_passing=True
        )
    nulls = pa.nulls(len(addresses), images.type)
    return pc.replace_with_mask(nulls, is_kept, images)


def _name_status(
    result: Examination | None, status: str | None, message: str | None
) -> tuple[str, str | None]:
    """Returns status and error message of a row that keeps nothing from before."""
    if result is not None:
        return (UNDECODABLE, result.error) if result.error else (SUCCESS, None)
    if status and status != SUCCESS:
        return status, message
    return NOT_GIVEN, message


def _describe(
    rows: pa.RecordBatch,
    made: pa.RecordBatch,
    is_kept: pa.Array,
    results: list[Examination | None],
) -> pa.RecordBatch:
    """Returns the rows of the DuckDB table `pictures`, and whether DuckDB has them from before."""
    import pyarrow as pa
    import pyarrow.compute as pc

    facts: dict[str, Any] = {
        "row_index": rows["row_index"],
        "image_id": rows["image_id"],
        "status": made["status"],
        "error_message": made["error_message"],
        "source": pc.if_else(made["image"].is_valid(), GIVEN, pa.scalar(None, pa.string())),
        "format": pa.array([r and r.format for r in results], pa.string()),
        "byte_count": pc.binary_length(made["image"]),
        "width": pa.array([r and r.width for r in results], pa.int32()),
        "height": pa.array([r and r.height for r in results], pa.int32()),
        "is_kept": is_kept,
    }
    return pa.record_batch(facts)


def _store_facts(connection: duckdb.DuckDBPyConnection, shard: str, facts: _Facts) -> None:
    """Replaces the rows of a shard in `pictures`; those of pictures that were kept stay."""
    import pyarrow as pa

    values = {"shard": shard}
    if not facts.batches:
        connection.execute(load_sql("pictures/delete_pictures"), values)
        return
    connection.register("facts", pa.Table.from_batches(facts.batches))
    connection.execute(load_sql("pictures/delete_replaced"), values)
    connection.execute(load_sql("pictures/insert_pictures"), values)
    connection.unregister("facts")
