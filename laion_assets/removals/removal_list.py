"""Reads the list of removals; if that fails, the last one stays in force."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from laion_assets.errors import SheetError
from laion_assets.names.name_list import is_cell_error, read_column
from laion_assets.names.sheet_download import DownloadRules
from laion_assets.names.sheets import fetch_sheet
from laion_assets.removals.entries import read_entry
from laion_assets.stores.removal_file import Entry, Removals

HEADER = "what"
DEFAULT_RULES = DownloadRules()


@dataclass(frozen=True)
class RemovalList:
    """What a list says.

    Attributes:
        entries: each once, in the order of the list.
        unread_lines: lines that are no entry.
    """

    entries: tuple[Entry, ...]
    unread_lines: tuple[int, ...]


def parse_list(location: str, content: bytes) -> RemovalList:
    """Reads a list of removals.

    Its entries are in the column headed `what`, else in the first. Lines that are no entry leave
    the others alone; a first line that is none is a header.

    Args:
        location: where it is, for messages.
        content: the file.

    Raises:
        SheetError: it cannot be read in one way alone, or has no entry.
    """
    column = read_column(location, content, HEADER)
    cells = [(line, cell) for line, cell in column.cells if not is_cell_error(cell)]
    errors = [line for line, cell in column.cells if is_cell_error(cell)]
    read = [(line, cell, read_entry(line, cell)) for line, cell in cells]
    if read and not column.is_headed and read[0][2] is None:
        read = read[1:]
    elif not column.is_headed and column.is_one_of_several and _has_urls(cells):
        raise SheetError(
            f"{location}: its lines may be URLs with commas in them or have several columns; put "
            f"`{HEADER}` above the column of the entries",
            code="removals-columns-unclear",
        )
    entries: dict[tuple[str, str], Entry] = {}
    for _, _, entry in read:
        if entry is not None:
            entries.setdefault((entry.kind, entry.value), entry)
    if not entries:
        raise SheetError(
            f"{location}: has no entry; write URLs, hosts, ids of images or digests of pictures in "
            f"a column headed `{HEADER}`",
            code="removals-empty",
        )
    unread = [line for line, _, entry in read if entry is None]
    return RemovalList(tuple(entries.values()), tuple(sorted(unread + errors)))


def read_or_keep(
    known: Removals, location: str | None, rules: DownloadRules = DEFAULT_RULES
) -> tuple[Removals, str | None]:
    """Reads the list; if that fails, or none is set, the one of before stays in force.

    Args:
        known: the list as it was last read.
        location: where it is now; None: nowhere.
        rules: the limits of a download.

    Returns:
        The list, and why it could not be read, if so.

    Raises:
        SheetError: it cannot be read, and there is none of before.
    """
    if location is None:
        return known, None
    try:
        return _read(known, location, rules), None
    except SheetError as error:
        if not known.sha256:
            raise
        logging.getLogger(__name__).warning(
            "%s; the %d entries of before stay in force", error, len(known.entries)
        )
        return known, str(error)


def _read(known: Removals, location: str, rules: DownloadRules) -> Removals:
    is_known = bool(known.sha256) and known.location == location
    etag = known.etag if is_known else None
    fetched = fetch_sheet("removals", location, rules, etag, "LAION_REMOVALS")
    if fetched.content is None:
        return known
    sha256 = hashlib.sha256(fetched.content).hexdigest()
    if is_known and sha256 == known.sha256:
        return replace(known, etag=fetched.etag)
    content = parse_list(location, fetched.content)
    pictures = {entry.value for entry in content.entries if entry.kind == "picture"}
    return replace(
        known,
        location=location,
        sha256=sha256,
        etag=fetched.etag,
        changed_at=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        entries=content.entries,
        previous_count=len(known.entries) if known.sha256 else None,
        unread_lines=content.unread_lines,
        found={value: ids for value, ids in known.found.items() if value in pictures},
    )


def _has_urls(cells: list[tuple[int, str]]) -> bool:
    return any("/" in cell for _, cell in cells)
