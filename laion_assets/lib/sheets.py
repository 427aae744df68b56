"""Reads the list of names of a kind, and keeps it as a DuckDB table."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import duckdb

from laion_assets.lib.errors import SheetError
from laion_assets.lib.sql import load_sql, quote_identifier


@dataclass(frozen=True)
class Sheet:
    """The names of a kind.

    Attributes:
        kind: such as `artists`.
        location: where the sheet is.
        sha256: of its bytes, in hexadecimal.
        name_header: the header of the column that was taken for the names.
        columns: the table's columns: `name` first, then the others as the sheet has them.
        rows: one for each name, in the sheet's order, as many cells as columns.
        repeated: names that stood there more than once, and are kept once.
        blank_count: rows without a name, left out.
    """

    kind: str
    location: str
    sha256: str
    name_header: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    repeated: tuple[str, ...]
    blank_count: int


def read_sheet(kind: str, location: str) -> Sheet:
    """Reads a CSV file of names.

    Raises:
        SheetError: it cannot be read, or has no usable name.
    """
    if "://" in location:
        raise SheetError(f"{location}: only local CSV files are read so far; export the sheet")
    try:
        content = Path(location).read_bytes()
    except OSError as error:
        raise SheetError(
            f"{location}: {error.strerror}; correct LAION_SHEET_{kind.upper()}"
        ) from error
    return parse_sheet(kind, location, content)


def parse_sheet(kind: str, location: str, content: bytes) -> Sheet:
    """Reads CSV in UTF-8, with or without a byte order mark.

    The names are in the column headed `name`, or as the kind, or as its singular, in any case;
    else in the first one.

    Raises:
        SheetError: it is not UTF-8 or not CSV, or has no usable name.
    """
    try:
        # A NUL is nothing that a person typed, and nothing that the name of a column can hold.
        text = content.decode("utf-8-sig").replace("\0", "")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header, *lines = (line for line in reader if line)
    except UnicodeDecodeError as error:
        raise SheetError(
            f"{location}: byte {error.start} is not UTF-8; save it as UTF-8"
        ) from error
    except csv.Error as error:
        raise SheetError(
            f"{location}: no readable CSV ({error}); export the sheet again"
        ) from error
    except ValueError:
        raise SheetError(
            f"{location}: the sheet is empty; {kind} needs a header and names"
        ) from None
    position = _find_name_column(header, kind)
    cells = [_name_first(_padded(line, len(header)), position) for line in lines]
    named = [row for row in cells if row[0]]
    if not named:
        raise SheetError(
            f"{location}: no name in column {header[position]!r}; put the names of {kind} there"
        )
    seen = Counter(row[0] for row in named)
    first_rows: dict[str, tuple[str, ...]] = {}
    for row in named:
        first_rows.setdefault(row[0], tuple(row))
    return Sheet(
        kind=kind,
        location=location,
        sha256=hashlib.sha256(content).hexdigest(),
        name_header=header[position],
        columns=_table_columns(_name_first(header, position)),
        rows=tuple(first_rows.values()),
        repeated=tuple(name for name, count in seen.items() if count > 1),
        blank_count=len(cells) - len(named),
    )


def store_sheet(connection: duckdb.DuckDBPyConnection, sheet: Sheet) -> None:
    """Replaces the table of the sheet's kind, within the transaction of the caller."""
    import pyarrow as pa

    columns = list(zip(*sheet.rows, strict=True))
    table = pa.table([pa.array(c, pa.string()) for c in columns], names=list(sheet.columns))
    connection.register("sheet", table)
    try:
        statement = load_sql("replace_sheet").format(table=quote_identifier(sheet.kind))
        connection.execute(statement)
    finally:
        connection.unregister("sheet")


def _find_name_column(header: list[str], kind: str) -> int:
    lowered = [cell.strip().lower() for cell in header]
    wanted = ("name", kind, kind.removesuffix("s"), kind.removesuffix("ies") + "y")
    return next((lowered.index(name) for name in wanted if name in lowered), 0)


def _padded(line: list[str], width: int) -> list[str]:
    return (line + [""] * width)[:width]


def _name_first(cells: list[str], position: int) -> list[str]:
    return [cells[position].strip(), *cells[:position], *cells[position + 1 :]]


def _table_columns(header: list[str]) -> tuple[str, ...]:
    """Names the columns as the header does, but none is blank and no two differ by case alone."""
    columns = ["name"]
    for number, cell in enumerate(header[1:], start=2):
        column = cell.strip() or f"column_{number}"
        while column.lower() in {c.lower() for c in columns}:
            column = f"{column}_{number}"
        columns.append(column)
    return tuple(columns)
