"""Adds the vectors that a shard brings to its rows in Lance, each of unit length.

A shard that brings vectors has exactly these afterwards, as vectors of two sources cannot be
compared. A shard that brings none keeps those that it has from before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

from laion_assets.embeddings.given_vectors import GivenVectors, Vectors, open_given
from laion_assets.errors import LaionError, StaleTableError
from laion_assets.lance_images.copy import add_shard_columns
from laion_assets.schemas import LANCE_EMBEDDINGS, vector_schema
from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import ColumnOrder, NotedColumns
from laion_assets.stores.database import Database
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import is_loaded
from laion_assets.stores.migration import add_to_lance
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets.stores.sql import load_sql

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

COLUMN_SET = "embeddings"
COLUMN = LANCE_EMBEDDINGS[0].name
# Raise it when the same file gives other values than before.
RULES_VERSION = 1
GIVEN = "given"
# Why a row has no vector.
REASONS = ("not_given", "zero", "not_finite")
FLOAT32_BYTES = 4


def name_origin(raw: RawShard) -> str:
    """Returns what the vectors of a shard are made from, as `shard_columns` notes it."""
    return f"{raw.sha256}|{raw.vectors_sha256 or 'no file'}|{GIVEN} {RULES_VERSION}"


def add_embeddings(
    database: Database, store: LanceStore, raws: RawStore, shard: str, run_id: str
) -> tuple[NotedColumns, Counter[str]] | None:
    """Writes the vectors of a shard in one commit.

    Args:
        database: the tables.
        store: the Lance tables.
        raws: the verified files.
        shard: partition key.
        run_id: the Dagster run, for provenance.

    Returns:
        What is noted of them, and rows without a vector by `REASONS`; None if the shard brings no
        vectors, and what it has stays as it is.

    Raises:
        StaleTableError: the shard's present file is not loaded and copied, or was replaced
            meanwhile.
        ShardError: the file, or that of the vectors, cannot be read.
        LaionError: the table has vectors of another dimension; nothing was written.
    """
    raw = raws.read(shard)
    if not raw.has_vectors:
        return None
    if not is_loaded(database, shard, raw.sha256):
        raise StaleTableError(
            f"shard {shard!r}: its present file is not in DuckDB and Lance; materialize `images` "
            "and `lance_images`",
            code="vectors-before-rows",
        )
    with _open(raws, raw) as given:
        dimension = given.dimension
    if dimension is None:
        return None
    schema = vector_schema(dimension)
    _settle_dimension(database, store, shard, schema)
    counts: Counter[str] = Counter()

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        counts.clear()
        return _make_batches(raws, raw, keys, schema, counts)

    order = ColumnOrder(
        shard=shard,
        columns=ColumnSet(COLUMN_SET, schema),
        keys=("row_index",),
        made_from=name_origin(raw),
        run_id=run_id,
    )
    return add_shard_columns(database, store, order, compute), counts


def _open(raws: RawStore, raw: RawShard) -> AbstractContextManager[GivenVectors]:
    beside = raws.vectors_path(raw.shard) if raw.vectors_sha256 else None
    return open_given(raws.path(raw.shard), beside)


def _settle_dimension(database: Database, store: LanceStore, shard: str, schema: pa.Schema) -> None:
    """Gives the table the column for such vectors, unless it has others already.

    Raises:
        LaionError: it has.
    """
    dataset, field = store.open("images"), schema.field(0)
    is_other = COLUMN in dataset.schema.names and dataset.schema.field(COLUMN).type != field.type
    if is_other and not _has_values(dataset):
        _drop_unused(database, store)
    try:
        add_to_lance(store, schema)
    except LaionError as error:
        kind = store.open("images").schema.field(COLUMN).type
        raise LaionError(
            f"shard {shard!r}: its vectors are {field.type}, and column `{COLUMN}` of the table is "
            f"{kind}; remove all shards that have such vectors (`laion remove`) and load them "
            "again, or set LAION_EMBEDDINGS=none",
            code="vectors-dimension",
        ) from error


def _drop_unused(database: Database, store: LanceStore) -> None:
    """Drops the column if no shard has a vector any more.

    A shard that is about to add its first ones sees at its commit that the column became another.
    """
    with database.read() as connection:
        shards = connection.execute(load_sql("lance_images/select_shards")).fetchall()
    with ExitStack() as stack:
        # No commit comes in between. In one order, so that two processes do not wait for another.
        for (shard,) in sorted(shards):
            stack.enter_context(store.lock_shard(shard))
        dataset = store.open("images")
        if COLUMN in dataset.schema.names and not _has_values(dataset):
            dataset.drop_columns([COLUMN])


def _has_values(dataset: lance.LanceDataset) -> bool:
    """Returns whether a fragment has a file with vectors."""
    ids = {f.id() for f in dataset.lance_schema.fields() if f.name() == COLUMN}
    return any(
        not ids.isdisjoint(file.fields)
        for fragment in dataset.get_fragments()
        for file in fragment.data_files()
    )


def _make_batches(
    raws: RawStore,
    raw: RawShard,
    keys: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    counts: Counter[str],
) -> Iterator[pa.RecordBatch]:
    with _open(raws, raw) as given:
        for batch in keys:
            for part in given.take(batch["row_index"].to_numpy()):
                yield _make_vectors(part, schema, counts)
    if name_origin(raws.read(raw.shard)) != name_origin(raw):
        raise StaleTableError(
            f"shard {raw.shard!r}: fetched anew meanwhile; run it again",
            code="vectors-overtaken",
            is_passing=True,
        )


def _make_vectors(part: Vectors, schema: pa.Schema, counts: Counter[str]) -> pa.RecordBatch:
    """Returns vectors as the table has them, and counts the rows that get none."""
    import numpy as np
    import pyarrow as pa

    units, is_zero, is_finite = normalise(part.values)
    is_good = part.is_given & is_finite & ~is_zero
    counts["not_given"] += int((~part.is_given).sum())
    counts["zero"] += int((part.is_given & is_zero).sum())
    counts["not_finite"] += int((part.is_given & ~is_finite).sum())
    units[~is_good] = 0
    numbers = pa.array(np.ascontiguousarray(units).reshape(-1))
    mask = pa.array(~is_good)
    vectors = pa.FixedSizeListArray.from_arrays(numbers, type=schema.field(0).type, mask=mask)
    return pa.RecordBatch.from_arrays([vectors], schema=schema)


def normalise(
    values: NDArray[np.floating],
) -> tuple[NDArray[np.float16], NDArray[np.bool_], NDArray[np.bool_]]:
    """Makes vectors of unit length.

    Args:
        values: a row for each.

    Returns:
        The vectors; which of them were zero; which had finite numbers alone. What is zero or not
        finite is of no length.
    """
    import numpy as np

    with np.errstate(all="ignore"):
        kind = np.float64 if values.dtype.itemsize > FLOAT32_BYTES else np.float32
        wide: NDArray[Any] = values.astype(kind)
        # By the largest number first, so that no square is too large or too small.
        largest = np.abs(wide).max(axis=1, keepdims=True)
        wide /= largest
        wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
        return wide.astype(np.float16), largest[:, 0] == 0, np.isfinite(largest[:, 0])
