"""Adds the declared columns to the rows of one shard, each in a commit of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laion_assets.curation.curation_file import (
    ComputedColumn,
    DeclaredColumn,
    JoinedColumn,
    KeptColumn,
)
from laion_assets.curation.expression import (
    KEPT_TYPES,
    ExpressionError,
    compute,
    open_sandbox,
)
from laion_assets.curation.place import CurationError
from laion_assets.declared_columns.join import Join, open_join
from laion_assets.declared_columns.kept import Kept, open_kept
from laion_assets.declared_columns.origin import (
    Wanted,
    find_behind,
    look_at_files,
)
from laion_assets.errors import LaionError, StaleTableError
from laion_assets.lance_images.copy import add_shard_columns
from laion_assets.schemas import LANCE_IMAGES, LANCE_PICTURES, arrow_schema, arrow_type
from laion_assets.stores.column_files import ColumnSet
from laion_assets.stores.columns import (
    DECLARED,
    ColumnOrder,
    NotedColumns,
    drop_columns,
    read_notes,
)
from laion_assets.stores.database import Database
from laion_assets.stores.disk_space import LEAST_BYTES, check_space
from laion_assets.stores.lance_store import LanceStore
from laion_assets.stores.loads import is_loaded
from laion_assets.stores.raw_store import RawStore
from laion_assets.stores.shard_fragments import find_fragments_with
from laion_assets.stores.sql import load_sql, quote_identifier

if TYPE_CHECKING:
    import pyarrow as pa

    from laion_assets.curation.curation_file import Curation

# Of pictures, which may have megabytes each, so many are held; of other values some more.
PICTURE_ROWS = 64
ROWS = 16_384
# Of a text in a column.
TEXT_BYTES = 100
# A shard that had to be copied again has none of its declared columns any more.
MAX_ROUNDS = 3


@dataclass(frozen=True)
class MadeColumn:
    """A declared column of a shard that was made now.

    Attributes:
        note: what is noted of it.
        type: DuckDB type of its values.
        oddities: what was odd about the values, for a person; empty if nothing was.
    """

    note: NotedColumns
    type: str
    oddities: str = ""


def add_declared(
    database: Database,
    store: LanceStore,
    curation: Curation,
    shard: str,
    run_id: str,
    raws: RawStore,
) -> dict[str, MadeColumn]:
    """Makes those declared columns of a shard that Lance does not have as they are declared.

    One that cannot be made does not hold up the others; its error is raised at the end.

    Args:
        database: the tables.
        store: the Lance tables.
        curation: what is declared.
        shard: partition key.
        run_id: the Dagster run, for provenance.
        raws: the verified files, for columns that are kept.

    Returns:
        What was made, by column.

    Raises:
        StaleTableError: Lance does not have the shard's present load.
        LaionError: a column could not be made.
    """
    made: dict[str, MadeColumn] = {}
    errors: dict[str, LaionError] = {}
    for _ in range(MAX_ROUNDS):
        wanted = look_at_files(database, curation)
        behind = _find_behind(database, wanted, shard)
        names = [name for name in behind if name not in errors]
        if not names:
            break
        for name in names:
            task = _Task(curation.by_name[name], behind[name], shard, run_id, raws)
            try:
                made[name] = _add_column(database, store, task)
            except StaleTableError:
                raise
            except LaionError as error:
                errors[name] = error
    for failure in errors.values():
        raise failure
    return made


def find_notes(database: Database, curation: Curation, shard: str) -> dict[str, NotedColumns]:
    """Returns what is noted of the declared columns of a shard, by column."""
    with database.read() as connection:
        notes = {n.column_set: n for n in read_notes(connection) if n.shard == shard}
    names = [c.name for c in curation.columns]
    return {name: notes[DECLARED + name] for name in names if DECLARED + name in notes}


def _find_behind(database: Database, wanted: Wanted, shard: str) -> dict[str, str]:
    with database.read() as connection:
        notes = [note for note in read_notes(connection) if note.shard == shard]
        rows = connection.execute(load_sql("stores/select_copied_load"), {"shard": shard})
        loads = [str(load_id) for (load_id,) in rows.fetchall()]
    if not loads:
        raise StaleTableError(
            f"shard {shard!r}: its present load is not in Lance; materialize `lance_images` first",
            code="declared-before-rows",
        )
    return find_behind(wanted, notes, {shard: loads[0]}).get(shard, {})


@dataclass(frozen=True)
class _Task:
    """Which column of which shard is to be made, and from what."""

    column: DeclaredColumn
    origin: str
    shard: str
    run_id: str
    raws: RawStore


def _add_column(database: Database, store: LanceStore, task: _Task) -> MadeColumn:
    import pyarrow as pa

    column, shard = task.column, task.shard
    join = open_join(column) if isinstance(column, JoinedColumn) else None
    kept = _open_kept(database, store, task, column) if isinstance(column, KeptColumn) else None
    source = join or kept
    kind = source.kind if source else column.type
    assert kind is not None
    field = pa.field(column.name, arrow_type(kind))
    columns = ColumnSet(DECLARED + column.name, pa.schema([field]))
    check_space(store.folder, _estimate(database, shard, field), f"making column {column.name!r}")
    _settle(database, store, column, field)
    order = ColumnOrder(
        shard=shard,
        columns=columns,
        keys=_find_keys(store, column),
        made_from=task.origin,
        run_id=task.run_id,
        batch_rows=PICTURE_ROWS if "image" in column.reads else ROWS,
    )

    def make(keys: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        whole = (_complete(batch, column) for batch in keys)
        if join:
            return _make_joined(join, whole, store, shard)
        if kept:
            return kept.compute(whole)
        assert isinstance(column, ComputedColumn)
        return _make_computed(column, whole, shard)

    note = add_shard_columns(database, store, order, make)
    oddities = join.losses.describe() if join else kept.describe() if kept else ""
    return MadeColumn(note, kind, oddities)


def _open_kept(database: Database, store: LanceStore, task: _Task, column: KeptColumn) -> Kept:
    raw = task.raws.read(task.shard)
    if not is_loaded(database, raw):
        raise StaleTableError(
            f"shard {task.shard!r}: its present file is not in DuckDB and Lance; materialize "
            "`images` and `lance_images`",
            code="kept-before-rows",
        )
    with database.read() as connection:
        notes = read_notes(connection)
    has_values = any(n.column_set == DECLARED + column.name and n.value_count for n in notes)
    schema = store.open("images").schema
    kind = None
    if has_values and column.name in schema.names:
        found = schema.field(column.name).type
        kind = next((name for name in KEPT_TYPES if arrow_type(name) == found), None)
    return open_kept(column, task.raws.path(task.shard), kind)


def _estimate(database: Database, shard: str, field: pa.Field) -> int:
    """Returns what a column of a shard takes: texts as they usually are, numbers at most."""
    with database.read() as connection:
        counts = dict(connection.execute(load_sql("lance_images/select_image_counts")).fetchall())
    value_bytes: int
    try:
        value_bytes = field.type.byte_width
    except ValueError:
        value_bytes = TEXT_BYTES
    return LEAST_BYTES + int(counts.get(shard, 0)) * max(value_bytes, 1)


def _settle(database: Database, store: LanceStore, column: DeclaredColumn, field: pa.Field) -> None:
    """Makes room for a column in the table where an earlier definition had another type.

    Raises:
        LaionError: somebody added a column of this name by hand, which cannot hold the values.
    """
    dataset = store.open("images")
    same = [f for f in dataset.schema if f.name.lower() == field.name.lower()]
    if not same or (same[0].name == field.name and same[0].type == field.type and same[0].nullable):
        return
    with database.read() as connection:
        is_noted = any(n.column_set == DECLARED + field.name for n in read_notes(connection))
    if same[0].name == field.name and (is_noted or not find_fragments_with(dataset, [field.name])):
        drop_columns(database, store, DECLARED + field.name, [field.name])
        return
    rule = "" if same[0].nullable else " not null"
    raise LaionError(
        f"[columns.{column.name}]: the table has a column `{same[0].name}` that somebody added by "
        f"hand ({same[0].type}{rule}), and this one is {field.type}; drop or rename that one "
        "(`drop_columns`, `alter_columns` of Lance), or declare another name",
        code="declared-column-conflict",
    )


def _find_keys(store: LanceStore, column: DeclaredColumn) -> tuple[str, ...]:
    """Returns the columns to read that the table has, in any case one."""
    names = store.open("images").schema.names
    return ("row_index", *(name for name in column.reads if name in names and name != "row_index"))


def _complete(batch: pa.RecordBatch, column: DeclaredColumn) -> pa.RecordBatch:
    """Adds the columns that the table lacks, as those of pictures if there are none."""
    import pyarrow as pa

    for field in arrow_schema((*LANCE_IMAGES, *LANCE_PICTURES)):
        if field.name in column.reads and field.name not in batch.schema.names:
            batch = batch.append_column(field, pa.nulls(len(batch), field.type))
    return batch


def _make_joined(
    join: Join, keys: Iterator[pa.RecordBatch], store: LanceStore, shard: str
) -> Iterator[pa.RecordBatch]:
    name = f"{DECLARED}{join.column.name}-join"
    with store.lock_columns(shard, name):
        folder = store.staging_folder(shard, name)
        try:
            yield from join.compute(keys, folder)
        finally:
            store.remove_staging(folder)


def _make_computed(
    column: ComputedColumn, keys: Iterator[pa.RecordBatch], shard: str
) -> Iterator[pa.RecordBatch]:
    field = quote_identifier(column.name), column.type
    with open_sandbox() as engine:
        for batch in keys:
            if not len(batch):
                continue
            try:
                yield compute(engine, column.expression, field, batch)
            except ExpressionError as error:
                raise CurationError(
                    f"[columns.{column.name}]: in shard {shard!r} {error}; let the expression be "
                    "NULL for such rows, as TRY_CAST and CASE do",
                    code=error.code,
                ) from error
