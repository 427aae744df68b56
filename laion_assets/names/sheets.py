"""Reads the list of names of a kind, and keeps it as a DuckDB table."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from laion_assets.errors import SheetError
from laion_assets.names.name_list import READING_VERSION, is_cell_error, is_name, read_name_list
from laion_assets.names.sheet_download import Download, DownloadRules, download_csv, is_link
from laion_assets.stores.database import Database
from laion_assets.stores.sql import load_sql, quote_identifier

DEFAULT_RULES = DownloadRules()


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
        error_count: rows with an error of the spreadsheet in place of a name, left out.
    """

    kind: str
    location: str
    sha256: str
    name_header: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    repeated: tuple[str, ...]
    blank_count: int
    error_count: int = 0


@dataclass(frozen=True)
class SheetRecord:
    """What is known of the table of a kind; see `schemas.SHEETS`."""

    location: str
    sha256: str
    etag: str | None
    name_header: str
    name_count: int
    previous_count: int | None
    repeated: Sequence[str]
    blank_count: int
    error_count: int
    reading_version: int
    is_changed: bool = False


def refresh_sheet(
    database: Database, kind: str, location: str, rules: DownloadRules = DEFAULT_RULES
) -> SheetRecord:
    """Reads a sheet, and replaces the table of its kind if the sheet has changed.

    Raises:
        SheetError: it cannot be read, or has no usable name; the table stays as it was.
    """
    known = read_record(database, kind)
    if known and (known.location, known.reading_version) != (location, READING_VERSION):
        known = None
    fetched = fetch_sheet(kind, location, rules, known.etag if known else None)
    if known and fetched.content is None:
        return known
    assert fetched.content is not None
    if known and _sha256(fetched.content) == known.sha256:
        return _note_etag(database, kind, known, fetched.etag)
    sheet = parse_sheet(kind, location, fetched.content)
    with database.write("sheets", kind) as connection:
        store_sheet(connection, sheet, fetched.etag)
    record = read_record(database, kind)
    assert record is not None
    return replace(record, is_changed=True)


def refresh_or_keep(
    database: Database, kind: str, location: str, rules: DownloadRules = DEFAULT_RULES
) -> tuple[SheetRecord, str | None]:
    """Reads a sheet; if that fails, the names of before stay in use, and a warning says why.

    Returns:
        What is known of the table, and why the sheet could not be read, if so.

    Raises:
        SheetError: the sheet cannot be read, and there are no names of before.
    """
    try:
        return refresh_sheet(database, kind, location, rules), None
    except SheetError as error:
        known = read_record(database, kind)
        if known is None:
            raise
        logging.getLogger(__name__).warning(
            "%s; the %d names of before are counted", error, known.name_count
        )
        return known, str(error)


def fetch_sheet(
    kind: str,
    location: str,
    rules: DownloadRules = DEFAULT_RULES,
    known_etag: str | None = None,
    variable: str | None = None,
) -> Download:
    """Returns the CSV at a location: a path, a Google Sheets link or another URL.

    Args:
        kind: such as `artists`.
        location: where it is.
        rules: the limits of a download.
        known_etag: of the content that is known already.
        variable: the setting that names the location; that of the kind if none is given.

    Raises:
        SheetError: it cannot be had.
    """
    if is_link(location):
        return download_csv(location, rules, known_etag)
    try:
        return Download(Path(location).read_bytes(), None)
    except OSError as error:
        raise SheetError(
            f"{location}: {error.strerror}; correct {variable or f'LAION_SHEET_{kind.upper()}'}",
            code="sheet-file-unreadable",
        ) from error


def read_sheet(kind: str, location: str) -> Sheet:
    """Reads the names at a location.

    Raises:
        SheetError: it cannot be read, or has no usable name.
    """
    content = fetch_sheet(kind, location).content
    assert content is not None
    return parse_sheet(kind, location, content)


def read_record(database: Database, kind: str) -> SheetRecord | None:
    """Returns what is known of a kind's table; None if there is none."""
    if not database.exists():
        return None
    with database.read() as connection:
        try:
            rows = connection.execute(load_sql("names/select_sheet"), {"kind": kind}).fetchall()
        except duckdb.CatalogException:
            # A first load that failed left a database without tables; writing creates them.
            return None
    return SheetRecord(*rows[0]) if rows else None


def parse_sheet(kind: str, location: str, content: bytes) -> Sheet:
    """Reads a list of names; `name_list.py` says how a file is understood.

    Raises:
        SheetError: it cannot be read in one way alone, or has no usable name.
    """
    found = read_name_list(kind, location, content)
    header, position = found.header, found.position
    cells = [_name_first(_padded(line, len(header)), position) for line in found.lines]
    named = [row for row in cells if is_name(row[0])]
    error_count = sum(is_cell_error(row[0]) for row in cells)
    if not named:
        raise SheetError(
            f"{location}: no name in column {header[position]!r}; put the names of {kind} there",
            code="sheet-without-names",
        )
    seen = Counter(row[0] for row in named)
    first_rows: dict[str, tuple[str, ...]] = {}
    for row in named:
        first_rows.setdefault(row[0], tuple(row))
    return Sheet(
        kind=kind,
        location=location,
        sha256=_sha256(content),
        name_header=header[position],
        columns=_table_columns(_name_first(header, position)),
        rows=tuple(first_rows.values()),
        repeated=tuple(name for name, count in seen.items() if count > 1),
        blank_count=len(cells) - len(named) - error_count,
        error_count=error_count,
    )


def store_sheet(
    connection: duckdb.DuckDBPyConnection, sheet: Sheet, etag: str | None = None
) -> None:
    """Replaces the table of the sheet's kind, within the transaction of the caller."""
    import pyarrow as pa

    columns = list(zip(*sheet.rows, strict=True))
    table = pa.table([pa.array(c, pa.string()) for c in columns], names=list(sheet.columns))
    connection.register("sheet", table)
    try:
        statement = load_sql("names/replace_sheet").format(table=quote_identifier(sheet.kind))
        connection.execute(statement)
    finally:
        connection.unregister("sheet")
    values = {
        "kind": sheet.kind,
        "location": sheet.location,
        "sha256": sheet.sha256,
        "etag": etag,
        "name_header": sheet.name_header,
        "name_count": len(sheet.rows),
        "repeated": list(sheet.repeated),
        "blank_count": sheet.blank_count,
        "error_count": sheet.error_count,
        "reading_version": READING_VERSION,
    }
    rows = connection.execute(load_sql("names/delete_sheet"), {"kind": sheet.kind}).fetchall()
    values["previous_count"] = rows[0][0] if rows else None
    connection.execute(load_sql("names/insert_sheet"), values)


def _note_etag(database: Database, kind: str, known: SheetRecord, etag: str | None) -> SheetRecord:
    """Remembers the server's new name for the same content, so that it need not send it again."""
    if etag == known.etag:
        return known
    with database.write("sheets") as connection:
        connection.execute(load_sql("names/update_sheet_etag"), {"kind": kind, "etag": etag})
    return replace(known, etag=etag)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
