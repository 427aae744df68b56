"""Reads `curation.toml` and checks all that stands in it.

`TABLES` says which tables the file may have and what reads each. A message names the file, the
table and the key, because that is what a person looks for.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from laion_assets.curation.expression import (
    KEPT_TYPES,
    Checker,
    Expression,
    ExpressionError,
    open_checker,
)
from laion_assets.curation.keep_table import read_kept
from laion_assets.curation.place import CurationError, Place, are_tables, check_keys, check_texts
from laion_assets.curation.subset_table import DeclaredSubset, read_subsets
from laion_assets.curation.terms import Terms, read_terms
from laion_assets.schemas import ADDED_COLUMNS, IMAGES, LANCE_IMAGES, LANCE_PICTURES

# By which columns the rows of a file are found, with their types.
JOIN_KEYS = {"image_id": "BIGINT", "key": "VARCHAR", "url": "VARCHAR", "md5": "VARCHAR"}
# What a file of values may be, by the end of its name.
FILE_KINDS = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv", ".lance": "lance"}
# What an expression can read: the rows, and what is known of their pictures.
READABLE = (*IMAGES, *LANCE_PICTURES)
# As in SQL without quotes; Lance keeps names with `_` in front for itself.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True)
class ComputedColumn:
    """A declared column that is computed from the other columns of a row.

    Attributes:
        name: its name in Lance.
        sql: as it was written.
        type: DuckDB type of its values.
        expression: the same, checked.
    """

    name: str
    sql: str
    type: str
    expression: Expression

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that have to be read for it."""
        return self.expression.reads

    def describe(self) -> dict[str, str]:
        """Returns the definition as it was written."""
        return {"sql": self.sql}


@dataclass(frozen=True)
class JoinedColumn:
    """A declared column whose values stand in a file.

    Attributes:
        name: its name in Lance.
        file: as it was written.
        path: where the file is.
        on: the column by which a row finds its value, here and in the file.
        value: the column of the file with the values.
        type: DuckDB type of the values; None: that of the file.
    """

    name: str
    file: str
    path: Path
    on: str
    value: str
    type: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that have to be read for it."""
        return (self.on,)

    @property
    def kind(self) -> str:
        """What the file is: parquet, csv or lance."""
        return next(kind for end, kind in FILE_KINDS.items() if self.file.lower().endswith(end))

    def describe(self) -> dict[str, str]:
        """Returns the definition as it was written."""
        kind = {"type": self.type} if self.type else {}
        return {"file": self.file, "on": self.on, "value": self.value, **kind}


@dataclass(frozen=True)
class KeptColumn:
    """A column of the shards that is kept under its own name.

    Attributes:
        name: its name in Lance, and in the shards, there in whatever case.
        type: None: that of the shards.
    """

    name: str
    type: None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that have to be read for it."""
        return ("row_index",)

    def describe(self) -> dict[str, str]:
        """Returns the definition as it was written."""
        return {"source_column": self.name}


DeclaredColumn = ComputedColumn | JoinedColumn | KeptColumn


def digest_definition(column: DeclaredColumn) -> str:
    """Returns SHA-256 of the definition of a column, in hexadecimal, whatever is in its file."""
    text = json.dumps([column.name, column.describe()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def reads_pictures(column: DeclaredColumn) -> bool:
    """Returns whether the values depend on what is known of the pictures."""
    return not {c.name for c in LANCE_PICTURES}.isdisjoint(column.reads)


@dataclass(frozen=True)
class Curation:
    """What a user declares.

    Attributes:
        columns: in the order of the file, those of `[keep]` at the end.
        subsets: in the order of the file.
        publish: what a published release says of itself.
    """

    columns: tuple[DeclaredColumn, ...] = ()
    subsets: tuple[DeclaredSubset, ...] = ()
    publish: Terms = field(default_factory=Terms)

    @cached_property
    def by_name(self) -> Mapping[str, DeclaredColumn]:
        """The columns by their names."""
        return {column.name: column for column in self.columns}


def read_curation(path: Path, *, is_required: bool = False) -> Curation:
    """Reads and checks the file; without one nothing is declared.

    Args:
        path: the file.
        is_required: whether it has to be there.

    Raises:
        CurationError: it cannot be read, or something in it cannot be used.
    """
    try:
        text = path.read_bytes().decode()
        content = tomllib.loads(text)
    except FileNotFoundError:
        if is_required:
            raise CurationError(
                f"LAION_CURATION: there is no file {path}; correct it, or leave it empty",
                code="curation-missing",
            ) from None
        return Curation()
    except OSError as error:
        raise CurationError(
            f"{path}: cannot be read ({error.strerror}); make it readable",
            code="curation-unreadable",
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CurationError(
            f"{path}: is no TOML ({error}); correct it", code="curation-no-toml"
        ) from error
    place = Place(path, text)
    check_keys(place, content, ("columns", "keep", "subsets", "publish"))
    return Curation(**{name: read(place.of(name), content) for name, read in TABLES.items()})


def _read_columns(place: Place, content: Mapping[str, Any]) -> tuple[DeclaredColumn, ...]:
    tables = content.get("columns", {})
    if not are_tables(tables):
        raise CurationError(
            f"{place}: write a table for each column, such as [columns.aspect_ratio]",
            code="curation-no-table",
        )
    kept = read_kept(Place(place.path, place.text).of("keep"), content)
    if not (tables or kept):
        return ()
    taken = {c.name.lower() for c in (*LANCE_IMAGES, *sum(ADDED_COLUMNS.values(), ()))}
    columns: list[DeclaredColumn] = []
    with open_checker(READABLE) as checker:
        for name, table in tables.items():
            _check_name(place.of(name), name, taken)
            taken.add(name.lower())
            columns.append(_read_column(place.of(name), name, table, checker))
    place = Place(place.path, place.text).of("keep").of("source_columns")
    for name in kept:
        _check_name(place, name, taken)
        taken.add(name.lower())
        columns.append(KeptColumn(name))
    return tuple(columns)


def _check_name(place: Place, name: str, taken: set[str]) -> None:
    if not _NAME.fullmatch(name):
        raise CurationError(
            f"{place}: {name!r} cannot name a column; use up to 63 letters, digits and _, after "
            "a letter",
            code="column-name-invalid",
        )
    if name.lower() in taken:
        raise CurationError(
            f"{place}: there is a column `{name}` already; choose another name",
            code="column-name-taken",
        )


def _read_column(
    place: Place, name: str, table: Mapping[str, Any], checker: Checker
) -> DeclaredColumn:
    known = ("sql",) if "sql" in table else ("file", "on", "value", "type")
    check_keys(place, table, known)
    check_texts(place, table)
    if "sql" in table:
        return _read_computed(place, name, table["sql"], checker)
    for key in ("file", "on", "value"):
        if key not in table:
            raise CurationError(
                f"{place}: `{key}` is missing; a column has `sql`, or `file`, `on` and `value`",
                code="curation-key-missing",
            )
    return _read_joined(place, name, table)


def _read_computed(place: Place, name: str, sql: str, checker: Checker) -> ComputedColumn:
    try:
        expression = checker.parse(sql)
        return ComputedColumn(name, sql.strip(), checker.find_type(expression), expression)
    except ExpressionError as error:
        raise CurationError(f"{place.of('sql')}: {error}", code=error.code) from error


def _read_joined(place: Place, name: str, table: Mapping[str, str]) -> JoinedColumn:
    if table["on"] not in JOIN_KEYS:
        raise CurationError(
            f"{place.of('on')}: {table['on']!r} is not one of {', '.join(JOIN_KEYS)}",
            code="join-key-unknown",
        )
    file = table["file"]
    if not file.lower().endswith(tuple(FILE_KINDS)) or "://" in file:
        raise CurationError(
            f"{place.of('file')}: {file!r} is no file that can be read; name one on this "
            f"machine that ends in {', '.join(FILE_KINDS)}",
            code="join-file-kind",
        )
    kind = table.get("type", "").upper() or None
    if kind is not None and kind not in KEPT_TYPES:
        raise CurationError(
            f"{place.of('type')}: {table['type']!r} is not one of {', '.join(KEPT_TYPES)}",
            code="join-type-unknown",
        )
    path = place.path.parent / Path(file).expanduser()
    return JoinedColumn(name, file, path, table["on"], table["value"], kind)


# What the tables of the file are to `Curation`, each an attribute of `Curation`, and what reads it.
TABLES: Mapping[str, Callable[[Place, Mapping[str, Any]], Any]] = {
    "columns": _read_columns,
    "subsets": read_subsets,
    "publish": read_terms,
}
