"""Adds the vectors of a shard to its rows in Lance, each of unit length.

They are those that the shard brings and, where that is wanted, those that an encoder makes of the
pictures of the other rows. A shard that brings vectors keeps none from before, as vectors of two
sources cannot be compared. One that brings none keeps those that it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.embeddings.compute import (
    FLOAT16_BYTES,
    PICTURE_COLUMN,
    Computing,
    compute_missing,
    has_pictures,
    read_vectors,
)
from laion_assets.embeddings.given_vectors import GivenVectors, open_given
from laion_assets.embeddings.model_files import DEMO
from laion_assets.embeddings.vector_rows import (
    VectorRows,
    join_rows,
    read_column,
    start_empty,
    start_rows,
)
from laion_assets.errors import LaionError, StaleTableError
from laion_assets.lance_images.copy import add_shard_columns
from laion_assets.schemas import LANCE_EMBEDDINGS, vector_schema
from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import (
    ENCODER_MARK,
    PICTURES_MARK,
    ColumnOrder,
    NotedColumns,
    read_notes,
)
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import is_loaded, list_loaded
from laion_assets.stores.migration import add_to_lance
from laion_assets.stores.raw_store import RawShard, RawStore
from laion_assets.stores.shard_fragments import list_fragments_with, select_shards

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

COLUMN_SET = "embeddings"
COLUMN = LANCE_EMBEDDINGS[0].name
# Raise it when the same file gives other values than before.
RULES_VERSION = 1
GIVEN = "given"


def name_origin(raw: RawShard) -> str:
    """Returns what the vectors of a shard are made from, as `shard_columns` notes it."""
    return f"{raw.sha256}|{raw.vectors_sha256 or 'no file'}|{GIVEN} {RULES_VERSION}"


def add_embeddings(
    database: Database,
    store: LanceStore,
    raws: RawStore,
    shard: str,
    run_id: str,
    computing: Computing | None = None,
) -> tuple[NotedColumns, Counter[str]] | None:
    """Writes the vectors of a shard in one commit.

    Args:
        database: the tables.
        store: the Lance tables.
        raws: the verified files.
        shard: partition key.
        run_id: the Dagster run, for provenance.
        computing: how to compute those that the shard does not bring, from the pictures that are
            in Lance; None: they are not.

    Returns:
        What is noted of them, and rows without a vector by `REASONS`; None if the shard brings no
        vectors and none can be computed, and what it has stays as it is.

    Raises:
        StaleTableError: the shard's present file is not loaded and copied, or was replaced
            meanwhile.
        ShardError: the file, or that of the vectors, cannot be read.
        DiskSpaceError: the disk has no room for them.
        LaionError: the table has vectors of another dimension or encoder, or the encoder cannot be
            used; nothing was written.
    """
    raw = raws.read(shard)
    if not raw.has_vectors and computing is None:
        return None
    if not is_loaded(database, raw):
        raise StaleTableError(
            f"shard {shard!r}: its present file is not in DuckDB and Lance; materialize `images` "
            "and `lance_images`",
            code="vectors-before-rows",
        )
    dimension = _find_dimension(raws, raw)
    if computing is not None and not has_pictures(store, shard):
        computing = None
    plan = _Plan(raws, raw, dimension is not None, computing)
    if computing is not None:
        plan = _plan_computing(database, plan, dimension)
        dimension = computing.encoder.dimension
    if dimension is None:
        return None
    needed = LEAST_BYTES + raw.file_rows * dimension * FLOAT16_BYTES
    check_space(store.folder, needed, f"adding the vectors of shard {shard!r}")
    schema = vector_schema(dimension)
    _settle_dimension(database, store, shard, schema)
    if computing is not None:
        compute_missing(store, shard, computing, _find_wanted(store, plan))
    counts: Counter[str] = Counter()

    def compute(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        counts.clear()
        return _make_batches(plan, keys, schema, counts)

    order = ColumnOrder(
        shard=shard,
        columns=ColumnSet(COLUMN_SET, schema),
        keys=("row_index", *((PICTURE_COLUMN, COLUMN) if computing else ())),
        made_from=plan.name_origin(),
        run_id=run_id,
    )
    return add_shard_columns(database, store, order, compute), counts


class Kept(Enum):
    """Which vectors of before a row keeps that gets no given one."""

    NONE = "none"
    # Those that an earlier file brought.
    BEFORE_COMPUTED = "before computed"
    # Those whose pictures are not there any more.
    AFTER_COMPUTED = "after computed"


@dataclass(frozen=True)
class _Plan:
    """Where the vectors of a shard come from.

    Attributes:
        raws: the verified files.
        raw: the shard's.
        is_given: whether it brings vectors.
        computing: how the others are computed; None: they are not.
        kept: which ones of before are kept.
        pictures: digest of the pictures; '' if it is not known.
    """

    raws: RawStore
    raw: RawShard
    is_given: bool
    computing: Computing | None
    kept: Kept = Kept.NONE
    pictures: str = ""

    def name_origin(self) -> str:
        """Returns what all of them are made from."""
        if self.computing is None:
            return name_origin(self.raw)
        encoder = self.computing.encoder
        is_portable = encoder.name == DEMO or encoder.name.startswith("hf://")
        name = encoder.name if is_portable else Path(encoder.name).name
        seen = f"{PICTURES_MARK}{self.pictures}" if self.pictures else ""
        return f"{name_origin(self.raw)}{seen}{ENCODER_MARK}{encoder.digest} {name}"


def _plan_computing(database: Database, plan: _Plan, given_dimension: int | None) -> _Plan:
    """Looks whether vectors of the encoder may be among those that there are.

    Raises:
        LaionError: they may not.
    """
    assert plan.computing is not None
    encoder, shard = plan.computing.encoder, plan.raw.shard
    if given_dimension not in (None, encoder.dimension):
        raise LaionError(
            f"shard {shard!r}: brings vectors of {given_dimension} numbers, and the encoder "
            f"{encoder.name} makes {encoder.dimension}; set LAION_ENCODER to the one that made "
            "them, or LAION_EMBEDDINGS=given",
            code="vectors-encoder-dimension",
        )
    with database.read() as connection:
        noted = read_notes(connection)
    # Before they are read: pictures that come meanwhile are then seen as due.
    pictures = (n for n in noted if (n.shard, n.column_set) == (shard, "pictures"))
    plan = replace(plan, pictures="".join(n.digest for n in pictures if n.lance_version))
    notes = {n.shard: n for n in noted if n.column_set == COLUMN_SET}
    for note in notes.values():
        if note.shard != shard and note.encoder not in (None, encoder.digest):
            raise LaionError(
                f"shard {shard!r}: the vectors of shard {note.shard!r} are of another encoder "
                f"({note.encoder_name}) than {encoder.name}; set LAION_ENCODER to that one, or "
                "remove all shards that have its vectors (`laion remove`) and load them again",
                code="vectors-other-encoder",
            )
    before = notes.get(shard)
    if plan.is_given or before is None or before.encoder not in (None, encoder.digest):
        return plan
    return replace(plan, kept=Kept.AFTER_COMPUTED if before.encoder else Kept.BEFORE_COMPUTED)


def _find_wanted(store: LanceStore, plan: _Plan) -> NDArray[np.bool_] | None:
    """Returns which rows of the file need a vector that is computed; None: all."""
    import numpy as np

    if plan.is_given:
        with _open(plan.raws, plan.raw) as given:
            parts = given.take(np.arange(plan.raw.file_rows))
            return np.concatenate([~start_rows(part).is_there for part in parts])
    if plan.kept != Kept.BEFORE_COMPUTED:
        return None
    is_kept = f"{select_shards([plan.raw.shard])} AND {COLUMN} IS NOT NULL"
    rows = store.open("images").to_table(["row_index"], filter=is_kept)["row_index"].to_numpy()
    is_wanted: NDArray[np.bool_] = np.ones(plan.raw.file_rows, np.bool_)
    is_wanted[rows] = False
    return is_wanted


def _find_dimension(raws: RawStore, raw: RawShard) -> int | None:
    """Returns the numbers of each vector that a shard brings; None if it brings none."""
    if not raw.has_vectors:
        return None
    with _open(raws, raw) as given:
        return given.dimension


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
    if is_other and not list_fragments_with(dataset, [COLUMN]):
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
        shards = list_loaded(connection)
    with store.lock_shards(shards):
        dataset = store.open("images")
        if COLUMN in dataset.schema.names and not list_fragments_with(dataset, [COLUMN]):
            dataset.drop_columns([COLUMN])


def _make_batches(
    plan: _Plan, keys: Iterator[pa.RecordBatch], schema: pa.Schema, counts: Counter[str]
) -> Iterator[pa.RecordBatch]:
    with ExitStack() as stack:
        given = stack.enter_context(_open(plan.raws, plan.raw)) if plan.is_given else None
        for batch in keys:
            if plan.computing is None:
                assert given is not None
                for part in given.take(batch["row_index"].to_numpy()):
                    yield start_rows(part).finish(schema, counts)
            else:
                yield _fill(plan, plan.computing, given, batch, schema).finish(schema, counts)
    if name_origin(plan.raws.read(plan.raw.shard)) != name_origin(plan.raw):
        raise StaleTableError(
            f"shard {plan.raw.shard!r}: fetched anew meanwhile; run it again",
            code="vectors-overtaken",
            is_passing=True,
        )


def _fill(
    plan: _Plan,
    computing: Computing,
    given: GivenVectors | None,
    batch: pa.RecordBatch,
    schema: pa.Schema,
) -> VectorRows:
    """Returns rows with vectors that were given, computed or there before."""
    dimension = schema.field(0).type.list_size
    rows = start_empty(len(batch), dimension)
    if given is not None:
        rows = join_rows(list(map(start_rows, given.take(batch["row_index"].to_numpy()))))
    pictures = batch[PICTURE_COLUMN]
    rows.note_pictures(pictures.is_valid().to_numpy(zero_copy_only=False))
    computed = read_vectors(computing.cache, pictures, dimension)
    before = read_column(batch[COLUMN], dimension)
    sources = {
        Kept.NONE: (computed,),
        Kept.BEFORE_COMPUTED: (before, computed),
        Kept.AFTER_COMPUTED: (computed, before),
    }
    for source in sources[plan.kept]:
        rows.add(*source)
    return rows
