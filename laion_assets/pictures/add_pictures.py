"""Adds the pictures of a shard to its rows in Lance, and notes what became of each row.

They are those that the shard brings, and else those that were fetched. Bytes are kept as they are.
A row whose picture neither has keeps the one that it has from before, so that a new load, or a
source that lost pictures, takes none away.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from laion_assets.errors import StaleTableError
from laion_assets.lance_images.copy import add_shard_columns
from laion_assets.pictures.examine import Examination, examine
from laion_assets.pictures.given import open_given
from laion_assets.schemas import LANCE_PICTURES, arrow_schema
from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import (
    ADDRESS,
    ColumnOrder,
    NotedColumns,
    note_columns,
    read_notes,
)
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import read_load
from laion_assets.stores.picture_cache import FetchedPicture, PictureCache
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

COLUMN_SET = "pictures"
# Raise it when the same file gives other values than before.
RULES_VERSION = 1
SUCCESS, UNDECODABLE, NOT_GIVEN = "success", "undecodable", "not_given"
GIVEN, FETCHED = "given", "fetched"
# Ends what a note says pictures are made from, once the others were asked for.
ASKED_MARK = f"|{FETCHED}"
# What is known of the pictures that rows have from before; so many of these are held.
KNOWN = tuple(column.name for column in LANCE_PICTURES if column.name != "image")
KEPT_BATCH_ROWS = 64
# Columns of a picture that was fetched, and where the cache has them.
_FETCHED_COLUMNS = {
    "image": "picture",
    "exif": "exif",
    "md5": "md5",
    "original_width": "original_width",
    "original_height": "original_height",
}


def name_origin(raw: RawShard, *, is_asked: bool = False) -> str:
    """Returns what the pictures of a shard are made from, as `shard_columns` notes it.

    Args:
        raw: the shard's file.
        is_asked: whether the pictures that it does not bring were asked for.
    """
    given = f"{raw.sha256}|{raw.archive_sha256 or 'no archive'}|{GIVEN} {RULES_VERSION}"
    return given + ASKED_MARK * is_asked


@dataclass(frozen=True)
class Places:
    """Where pictures are that the shard does not bring.

    Attributes:
        store: has those that rows keep from before.
        cache: has those that were fetched; None if they do not count.
    """

    store: LanceStore
    cache: PictureCache | None


@dataclass
class _Facts:
    """What DuckDB gets of the rows: a batch for each that went to Lance."""

    batches: list[pa.RecordBatch] = field(default_factory=list)


def add_pictures(
    database: Database,
    store: LanceStore,
    raws: RawStore,
    shard: str,
    run_id: str,
    cache: PictureCache | None = None,
    *,
    is_asked: bool = False,
) -> NotedColumns:
    """Writes the pictures of a shard in one commit.

    Args:
        database: the tables.
        store: the Lance tables.
        raws: the verified files.
        shard: partition key.
        run_id: the Dagster run, for provenance.
        cache: has the pictures that were fetched; None: only those that the shard brings count.
        is_asked: whether all that the shard does not bring were asked for, which is then noted.

    Returns:
        What is noted of them: how many, and how large.

    Raises:
        StaleTableError: the shard's present file is not loaded and copied, or was replaced
            meanwhile.
        ShardError: the file or the archive beside it cannot be read.
        DiskSpaceError: the disk has no room for them.
    """
    raw = raws.read(shard)
    with database.read() as connection:
        _check_loaded(connection, raw)
        notes = [n for n in read_notes(connection) if n.column_set == COLUMN_SET]
    kept_bytes = sum(note.data_bytes for note in notes if note.shard == shard)
    needed = _estimate(raws, raw) + kept_bytes + _measure_fetched(database, cache, shard)
    check_space(store.folder, needed, f"adding the pictures of shard {shard!r}")
    has_some = kept_bytes > 0
    facts = _Facts()

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        facts.batches.clear()
        return _make_pictures(raw, raws, keys, facts, Places(store, cache))

    def finish(connection: duckdb.DuckDBPyConnection) -> None:
        _store_facts(connection, shard, facts)

    schema = arrow_schema(LANCE_PICTURES)
    order = ColumnOrder(
        shard=shard,
        columns=ColumnSet(COLUMN_SET, schema),
        keys=(
            *("row_index", "image_id", *(("url",) if cache else ())),
            *((ADDRESS, *KNOWN) if has_some else ()),
        ),
        made_from=name_origin(raw, is_asked=is_asked),
        run_id=run_id,
        batch_rows=KEPT_BATCH_ROWS if has_some or cache else None,
        tables=("pictures",),
    )
    return add_shard_columns(database, store, order, compute, finish)


def note_asked(database: Database, note: NotedColumns) -> NotedColumns:
    """Notes that nothing is left to be fetched of a shard, whose pictures stay as they are.

    Args:
        database: the tables.
        note: what `add_pictures` returned; if another load or run replaced it, nothing is noted.
    """
    asked = replace(note, made_from=note.made_from + ASKED_MARK)
    with database.write("shard_columns", shards=[note.shard]) as connection:
        if note in (replace(known, made_at=None) for known in read_notes(connection)):
            note_columns(connection, asked)
    return asked


def _measure_fetched(database: Database, cache: PictureCache | None, shard: str) -> int:
    """Returns the bytes of the pictures of a shard that were fetched."""
    if cache is None:
        return 0
    with database.read() as connection:
        rows = connection.execute(load_sql("pictures/select_urls"), {"shard": shard}).fetchall()
    return cache.measure(url for (url,) in rows)


def _estimate(raws: RawStore, raw: RawShard) -> int:
    """Returns how many bytes the pictures that a shard brings take at most."""
    archive = raws.archive_path(raw.shard)
    archived = archive.stat().st_size if raw.archive_sha256 and archive.exists() else 0
    return LEAST_BYTES + (raw.file_bytes + archived if raw.has_pictures else 0)


def _check_loaded(connection: duckdb.DuckDBPyConnection, raw: RawShard) -> None:
    load = read_load(connection, raw.shard)
    if load is None or load.sha256 != raw.sha256:
        raise StaleTableError(
            f"shard {raw.shard!r}: DuckDB does not have its newest file; materialize `images`",
            code="picture-shard-not-loaded",
        )


def _make_pictures(
    raw: RawShard,
    raws: RawStore,
    keys: Iterator[pa.RecordBatch],
    facts: _Facts,
    places: Places,
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
                made, known = _judge(rows, part, pool, places)
                facts.batches.append(known)
                yield made


def _judge(
    rows: pa.RecordBatch, given: pa.RecordBatch, pool: ThreadPoolExecutor, places: Places
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Returns what Lance gets of some rows, and what DuckDB gets.

    Args:
        rows: the rows as they are in Lance.
        given: what the shard's file says of them.
        pool: decodes.
        places: where the pictures are that the shard does not bring.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    results = _examine(given["image"], pool)
    is_good = pa.array([r is not None and r.error is None for r in results], pa.bool_())
    is_kept = pa.array([False] * len(rows), pa.bool_())
    if ADDRESS in rows.schema.names:
        # A picture has a hash, which is quicker read than the picture.
        is_kept = pc.and_(pc.invert(is_good), rows["picture_sha256"].is_valid())
    fetched = _find_fetched(rows, pc.or_(is_good, is_kept), places.cache)
    texts = zip(given["status"].to_pylist(), given["error_message"].to_pylist(), strict=True)
    verdicts = [
        (f.status, f.message) if f else _name_status(r, *text)
        for f, r, text in zip(fetched, results, texts, strict=True)
    ]
    new = {name: given[name] for name in given.schema.names}
    new["image"] = pc.if_else(is_good, given["image"], None)
    brought = pa.array([f is not None and f.picture is not None for f in fetched], pa.bool_())
    if brought.true_count:
        for name, attribute in _FETCHED_COLUMNS.items():
            values = [f and getattr(f, attribute) for f in fetched]
            new[name] = pc.if_else(brought, pa.array(values, new[name].type), new[name])
        examined = _examine(pc.if_else(brought, new["image"], None), pool)
        results = [e or r for e, r in zip(examined, results, strict=True)]
    new |= {
        "status": pa.array([status for status, _ in verdicts], pa.string()),
        "error_message": pa.array([message for _, message in verdicts], pa.string()),
        "picture_sha256": pa.array([r and r.sha256 for r in results], pa.string()),
        "phash": pa.array([r and r.phash for r in results], pa.int64()),
    }
    schema = arrow_schema(LANCE_PICTURES)
    columns = [new[name] for name in schema.names]
    if is_kept.true_count:
        kept = _take_pictures(places.store, rows[ADDRESS], is_kept)
        old = [kept if name == "image" else rows[name] for name in schema.names]
        columns = [pc.if_else(is_kept, o, n) for o, n in zip(old, columns, strict=True)]
    made = pa.RecordBatch.from_arrays(columns, schema=schema)
    return made, _describe(rows, made, is_kept, results, fetched)


def _examine(images: pa.Array, pool: ThreadPoolExecutor) -> list[Examination | None]:
    """Decodes the pictures that there are."""
    found = pool.map(examine, (image.as_py() for image in images.drop_null()))
    return [next(found) if is_there else None for is_there in images.is_valid().to_pylist()]


def _find_fetched(
    rows: pa.RecordBatch, has_picture: pa.Array, cache: PictureCache | None
) -> list[FetchedPicture | None]:
    """Returns for each row without a picture what became of its URL; None if nobody asked."""
    if cache is None:
        return [None] * len(rows)
    urls = [
        None if is_there else url
        for url, is_there in zip(rows["url"].to_pylist(), has_picture.to_pylist(), strict=True)
    ]
    known = cache.read(url for url in urls if url is not None)
    return [None if url is None else known.get(url) for url in urls]


def _take_pictures(store: LanceStore, addresses: pa.Array, is_kept: pa.Array) -> pa.Array:
    """Returns the pictures that rows have, NULL for those that do not keep theirs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    taken = store.open("images")._take_rows(addresses.filter(is_kept), columns=["image"])
    images = taken["image"].combine_chunks()
    if len(images) != is_kept.true_count:
        raise StaleTableError(
            "rows were replaced while their pictures were read; run it again",
            is_passing=True,
            code="picture-rows-replaced",
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
    fetched: list[FetchedPicture | None],
) -> pa.RecordBatch:
    """Returns the rows of the DuckDB table `pictures`, and whether DuckDB has them from before."""
    import pyarrow as pa
    import pyarrow.compute as pc

    facts: dict[str, Any] = {
        "row_index": rows["row_index"],
        "image_id": rows["image_id"],
        "status": made["status"],
        "error_message": made["error_message"],
        "source": pa.array(
            [
                None if not is_there else FETCHED if f and f.picture else GIVEN
                for f, is_there in zip(fetched, made["image"].is_valid().to_pylist(), strict=True)
            ],
            pa.string(),
        ),
        "format": pa.array([r and r.format for r in results], pa.string()),
        "byte_count": pc.binary_length(made["image"]),
        "width": pa.array([r and r.width for r in results], pa.int32()),
        "height": pa.array([r and r.height for r in results], pa.int32()),
        **{
            name: pa.array([f and getattr(f, name) for f in fetched], kind)
            for name, kind in (
                *(("reason", pa.string()), ("is_passing", pa.bool_())),
                *(("http_status", pa.int32()), ("final_url", pa.string())),
                *(("seconds", pa.float32()), ("received_bytes", pa.int64())),
                ("fetched_at", pa.string()),
            )
        },
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
