"""Finds the values of a file for the rows of a shard, by a key that both have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from laion_assets.curation.curation_file import JOIN_KEYS, JoinedColumn
from laion_assets.curation.expression import KEPT_TYPES
from laion_assets.curation.place import CurationError
from laion_assets.errors import first_line
from laion_assets.schemas import arrow_type
from laion_assets.stores.database import open_engine, stream
from laion_assets.stores.sql import load_sql, quote_identifier
from laion_assets.stores.value_file import ValueFile

if TYPE_CHECKING:
    import pyarrow as pa

# What does not fit is on the disk meanwhile.
MEMORY = "512MB"
VALUE_ROWS = 16_384
INTEGERS = frozenset(kind for kind in KEPT_TYPES if kind.endswith("INT") or kind == "INTEGER")
# A cast of these to an integer would round.
FRACTIONS = ("FLOAT", "DOUBLE", "DECIMAL")
# A text is one without a fraction.
WHOLE = r"regexp_full_match(trim({name}), '[+-]?[0-9]+(\.0*)?')"


@dataclass
class Losses:
    """Rows of a shard that got no value, by the reason, and what else is odd.

    Attributes:
        without_key: the row has no key.
        not_in_file: the file has no such key.
        null_in_file: the file says NULL.
        wrong_type: the value is of another type than the column.
        repeated_keys: keys of the shard that have several lines in the file; the first counts.
        unusable_keys: lines of the file whose key is of another type.
    """

    without_key: int = 0
    not_in_file: int = 0
    null_in_file: int = 0
    wrong_type: int = 0
    repeated_keys: int = 0
    unusable_keys: int = 0

    def describe(self) -> str:
        """Returns what is odd, for a person; empty if nothing is."""
        texts = {
            "without_key": "rows without a key",
            "not_in_file": "rows that the file does not have",
            "null_in_file": "rows that are NULL in the file",
            "wrong_type": "rows with a value of another type",
            "repeated_keys": "keys that the file repeats, of which the first line counts",
            "unusable_keys": "lines of the file with a key of another type",
        }
        return "; ".join(f"{n:,} {texts[name]}" for name, n in vars(self).items() if n)


@dataclass
class Join:
    """Joins one column to the rows of shards.

    Attributes:
        column: what is declared.
        kind: DuckDB type of the column.
        file_kind: that of the values in the file.
        key_kind: that of the keys in the file.
        losses: of the last shard.
    """

    column: JoinedColumn
    kind: str
    file_kind: str
    key_kind: str
    losses: Losses = field(default_factory=Losses)

    def compute(self, keys: Iterator[pa.RecordBatch], folder: Path) -> Iterator[pa.RecordBatch]:
        """Yields the value of each row of a shard, in their order.

        Args:
            keys: the rows.
            folder: for what does not fit into memory.
        """
        with ExitStack() as stack:
            engine = stack.enter_context(open_joiner(folder))
            engine.register("key_batches", _number(keys, self.column.on))
            engine.execute(load_sql("declared_columns/create_keys"))
            engine.unregister("key_batches")
            key = _cast("key", self.key_kind, JOIN_KEYS[self.column.on])
            value = _cast("value", self.file_kind, self.kind)
            self._ask(engine, "create_found", key=key)
            ((*counts,),) = self._ask(engine, "count_values", value=value).fetchall()
            unusable = 0
            if self.key_kind != JOIN_KEYS[self.column.on]:
                ((unusable,),) = self._ask(engine, "count_unusable_keys", key=key).fetchall()
            self.losses = Losses(**dict(zip(vars(Losses()), [*counts, unusable], strict=True)))
            query = load_sql("declared_columns/select_values").format(
                value=value, name=quote_identifier(self.column.name)
            )
            yield from stack.enter_context(stream(engine, query, batch_rows=VALUE_ROWS))

    def _ask(
        self, engine: duckdb.DuckDBPyConnection, statement: str, **parts: str
    ) -> duckdb.DuckDBPyConnection:
        file = find_file(self.column)
        if "key" in parts:
            file.show(engine, self.column.on, self.column.value)
        query = load_sql(f"declared_columns/{statement}").format(**parts)
        try:
            return engine.execute(query)
        except duckdb.Error as error:
            raise CurationError(
                f"[columns.{self.column.name}]: {self.column.path} cannot be joined "
                f"({first_line(error)}); correct the file",
                code="join-failed",
            ) from error


def find_file(column: JoinedColumn) -> ValueFile:
    """Returns the file of a column."""
    return ValueFile(column.path, column.kind)


def open_join(column: JoinedColumn) -> Join:
    """Looks at the file of a column.

    Raises:
        CurationError: the file lacks a column, or its values have a type that is not kept.
        ValueFileError: it cannot be read.
    """
    file = find_file(column)
    with open_engine() as engine:
        engine.execute(load_sql("raw_shards/set_progress_off"))
        names = file.list_columns(engine)
        for name in (column.on, column.value):
            if name not in names:
                raise CurationError(
                    f"[columns.{column.name}]: {column.path} has no column `{name}`; it has "
                    f"{', '.join(names)}",
                    code="join-column-missing",
                )
        is_text = file.kind == "csv"
        found = column.type or file.find_type(engine, column.value)
        key_kind = "VARCHAR" if is_text else file.find_type(engine, column.on)
        file_kind = "VARCHAR" if is_text else file.find_type(engine, column.value)
    if found not in KEPT_TYPES:
        raise CurationError(
            f"[columns.{column.name}]: the values in {column.path} are of type {found}, which is "
            f'not kept; add `type = "…"` with one of {", ".join(KEPT_TYPES)}',
            code="join-type",
        )
    return Join(column, found, file_kind, key_kind)


def open_joiner(folder: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Opens an engine with little memory, which may use a folder."""
    return open_engine(memory_limit=MEMORY, temp_directory=str(folder / "join"), threads="2")


def _cast(name: str, found: str, wanted: str) -> str:
    """Returns how a value is read as another type; NULL where it is none."""
    if found == wanted:
        return name
    cast = f"TRY_CAST({name} AS {wanted})"
    if wanted in INTEGERS and found == "VARCHAR":
        return f"CASE WHEN {WHOLE.format(name=name)} THEN {cast} END"
    if wanted in INTEGERS and found.startswith(FRACTIONS):
        return f"CASE WHEN {name} = floor({name}) THEN {cast} END"
    return cast


def _number(keys: Iterator[pa.RecordBatch], name: str) -> pa.RecordBatchReader:
    import numpy as np
    import pyarrow as pa

    schema = pa.schema([("place", pa.int64()), ("key", arrow_type(JOIN_KEYS[name]))])

    def number() -> Iterator[pa.RecordBatch]:
        place = 0
        for batch in keys:
            places = pa.array(np.arange(place, place + len(batch)))
            place += len(batch)
            yield pa.RecordBatch.from_arrays([places, batch[name]], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, number())
