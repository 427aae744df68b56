"""Reads a list of names as people save one: which delimiter, which header, which column.

A wrong guess would count the wrong things in silence. So each question is answered by what stands
in the file, and a list with two sensible readings is refused.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from laion_assets.errors import SheetError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Excel's own way to say which delimiter follows.
DELIMITER_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
# A title, a date and an empty line may stand above the header.
MAX_LINES_ABOVE = 5
MAX_CELL_SHOWN = 60
# What Google Sheets and Excel write into a cell instead of a value.
CELL_ERROR = re.compile(r"#(N/A|REF!|VALUE!|NAME\?|DIV/0!|NULL!|NUM!|ERROR!|SPILL!|CALC!)", re.I)
LOADING = re.compile(r"(Loading\.\.\.|Loading…|#GETTING_DATA)", re.IGNORECASE)
NUMBER = re.compile(r"[-+]?[\d\s.,'\u2019]*\d\s*%?")


# Raise it when a list is read in another way than before: lists in the database are read again.
READING_VERSION = 1


@dataclass(frozen=True)
class NameList:
    """A list of names, as it was read.

    Attributes:
        header: the cells of the header.
        lines: the cells of each line below it; as many as the file has, which may differ.
        position: which column holds the names, from 0.
    """

    header: list[str]
    lines: list[list[str]]
    position: int


def read_name_list(kind: str, location: str, content: bytes) -> NameList:
    """Reads a list in UTF-8 or UTF-16, with commas, semicolons, tabs or vertical bars.

    The header is the first line with a cell that means a name: `name`, the kind or its singular,
    or one of them with `name` (`artist name`, `full_name`), in any case. Without one, the header
    shows only if the columns below it hold numbers and it does not; the names are then in the one
    column that holds text.

    Args:
        kind: such as `artists`.
        location: where the list is, for messages.
        content: the file.

    Raises:
        SheetError: it cannot be decoded, is no CSV, is empty, or can be read in two ways.
    """
    text = _decode(location, content)
    first, _, rest = text.lstrip("\r\n").partition("\n")
    if said := DELIMITER_LINE.fullmatch(first.strip()):
        return _choose(kind, location, {said[1]: _split(location, rest, said[1])})
    readings = {
        delimiter: lines
        for delimiter in DELIMITERS
        if delimiter in text and (lines := _try_split(text, delimiter))
    }
    tables = {delimiter: lines for delimiter, lines in readings.items() if _is_table(lines)}
    if not tables:
        # One column: the delimiter of the standard, so that quotes mean what they should.
        tables = {",": _split(location, text, ",")}
    return _choose(kind, location, tables)


@dataclass(frozen=True)
class Column:
    """One column of a list, as it was read.

    Attributes:
        cells: each line with a cell that is not blank: its number in the file, and the cell.
        is_headed: whether the header names the column; if not, the first line may be a header.
        is_one_of_several: whether the list has other columns.
    """

    cells: list[tuple[int, str]]
    is_headed: bool = False
    is_one_of_several: bool = False


def read_column(location: str, content: bytes, header: str) -> Column:
    """Reads the column of a list that has this header, in any case; the first if none has.

    The file is one that `read_name_list` could read. A list of one column without the header is
    read line by line, as a URL may have commas in it.

    Args:
        location: where the list is, for messages.
        content: the file.
        header: a word.

    Raises:
        SheetError: it cannot be decoded, or is no CSV.
    """
    text = _decode(location, content)
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    said = DELIMITER_LINE.fullmatch(lines[start].strip()) if lines else None
    if said:
        lines[start] = ""
    for delimiter in [said[1]] if said else DELIMITERS:
        table = _number_lines(lines, delimiter)
        for row, (number, cells) in enumerate(table[: MAX_LINES_ABOVE + 1]):
            words = [_normalize(cell) for cell in cells]
            if header in words and len(words) > 1:
                picked = _pick(table[row + 1 :], words.index(header))
                return Column(picked, is_headed=True, is_one_of_several=True)
            if header in words:
                return Column(_list_lines(lines, after=number), is_headed=True)
    for delimiter in [said[1]] if said else DELIMITERS:
        table = _number_lines(lines, delimiter)
        if table and _is_table([cells for _, cells in table]):
            return Column(_pick(table, 0), is_one_of_several=True)
    return Column(_list_lines(lines))


def is_name(cell: str) -> bool:
    """Returns whether a trimmed cell holds a name: not blank, and no error of a spreadsheet."""
    return bool(cell) and not is_cell_error(cell)


def is_cell_error(cell: str) -> bool:
    """Returns whether a trimmed cell holds what a spreadsheet shows in place of a value."""
    return bool(CELL_ERROR.fullmatch(cell))


def _decode(location: str, content: bytes) -> str:
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        # A NUL is nothing that a person typed, and nothing that the name of a column can hold.
        return content.decode("utf-16" if is_utf16 else "utf-8-sig").replace("\0", "")
    except UnicodeDecodeError as error:
        wanted = "UTF-16" if is_utf16 else "UTF-8"
        raise SheetError(
            f"{location}: byte {error.start} is not {wanted}; save it as UTF-8",
            code="sheet-encoding",
        ) from error


def _split(location: str, text: str, delimiter: str) -> list[list[str]]:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise SheetError(
            f"{location}: not a readable CSV file ({error}); export the sheet again",
            code="sheet-unreadable",
        ) from error


def _number_lines(lines: Sequence[str], delimiter: str) -> list[tuple[int, list[str]]]:
    """Returns the cells of each line that is not blank; none if the file cannot be so read."""
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error:
        return []


def _pick(table: Sequence[tuple[int, list[str]]], position: int) -> list[tuple[int, str]]:
    cells = ((n, row[position].strip()) for n, row in table if len(row) > position)
    return [(number, cell) for number, cell in cells if cell]


def _list_lines(lines: Sequence[str], after: int = 0) -> list[tuple[int, str]]:
    numbered = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    return [(number, _unquote(line)) for number, line in numbered if line and number > after]


def _unquote(line: str) -> str:
    is_quoted = len(line) > 1 and line[0] == line[-1] == '"'
    return line[1:-1].replace('""', '"').strip() if is_quoted else line


def _try_split(text: str, delimiter: str) -> list[list[str]]:
    try:
        return _split("", text, delimiter)
    except SheetError:
        return []


def _is_table(lines: Sequence[Sequence[str]]) -> bool:
    """Returns whether most lines have the same number of cells, and more than one.

    Names with commas in a list of one column have now one, now two.
    """
    widths = [len(line) for line in lines]
    most = max(set(widths), key=widths.count)
    return most > 1 and widths.count(most) * 2 > len(widths)


def _choose(kind: str, location: str, tables: dict[str, list[list[str]]]) -> NameList:
    """Returns the only sensible reading of the file."""
    lists = {}
    for delimiter, lines in tables.items():
        if (found := _find_header(kind, lines)) is not None:
            row, position = found
            lists[delimiter] = NameList(lines[row], lines[row + 1 :], position)
    lines = next(iter(tables.values()))
    if not lines:
        raise SheetError(
            f"{location}: the sheet is empty; {kind} needs a header and names", code="sheet-empty"
        )
    if len(lists) > 1:
        ways = " or ".join(DELIMITERS[delimiter] for delimiter in lists)
        raise SheetError(
            f"{location}: its columns may be separated by {ways}, {_show(lines)}; "
            "save it as CSV with commas",
            code="sheet-delimiter-unclear",
        )
    if not lists:
        raise SheetError(
            f"{location}: no header says which column holds the {kind}, {_show(lines)}; "
            "put `name` above the names",
            code="sheet-without-header",
        )
    (found_list,) = lists.values()
    _check(kind, location, found_list)
    return found_list


def _check(kind: str, location: str, found: NameList) -> None:
    cells = [line[found.position].strip() for line in found.lines if len(line) > found.position]
    if loading := next(filter(LOADING.fullmatch, cells), None):
        raise SheetError(
            f"{location}: a name is {loading!r}, so the sheet was not ready; refresh again",
            is_passing=True,
            code="sheet-not-ready",
        )
    if _are_numbers(filter(is_name, cells)):
        raise SheetError(
            f"{location}: column {found.header[found.position]!r} holds numbers, "
            f"{_show([found.header, *found.lines])}; put `name` above the names of {kind}",
            code="sheet-of-numbers",
        )
    width = len(found.header)
    for number, line in enumerate(found.lines, start=1):
        if width == 1 and any(cell.strip() for cell in line[1:]):
            raise SheetError(
                f"{location}: name {number} has {len(line)} cells, {_show([found.header, line])}; "
                "put quotes around a name with a comma",
                code="sheet-row-too-long",
            )


def _find_header(kind: str, lines: Sequence[list[str]]) -> tuple[int, int] | None:
    """Returns the line of the header and the column of the names; None if neither is clear."""
    above = itertools.takewhile(_is_title, lines[:MAX_LINES_ABOVE])
    candidates = lines[: len(list(above)) + 1]
    for word in _name_words(kind):
        for row, line in enumerate(candidates):
            if word in (cells := [_normalize(cell) for cell in line]):
                return row, cells.index(word)
    return _find_header_by_numbers(lines)


def _is_title(line: Sequence[str]) -> bool:
    """Returns whether a line has one cell alone; with more it is data, or a header."""
    return sum(bool(cell.strip()) for cell in line) == 1


def _find_header_by_numbers(lines: Sequence[list[str]]) -> tuple[int, int] | None:
    if not lines:
        return None
    header, *rest = lines
    columns = [[line[n].strip() for line in rest if len(line) > n] for n in range(len(header))]
    is_number = [_are_numbers(column) for column in columns]
    texts = [n for n, number in enumerate(is_number) if not number and any(columns[n])]
    is_header = any(
        number and header[n].strip() and not NUMBER.fullmatch(header[n].strip())
        for n, number in enumerate(is_number)
    )
    return (0, texts[0]) if is_header and len(texts) == 1 else None


def _are_numbers(cells: Iterable[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(NUMBER.fullmatch(cell) for cell in filled)


def _name_words(kind: str) -> list[str]:
    """Returns what heads a column of names, the clearest first."""
    plural = kind.replace("_", " ").lower()
    singular = plural.removesuffix("ies") + "y" if plural.endswith("ies") else ""
    kinds = [plural, *filter(None, [singular]), plural.removesuffix("s")]
    return [
        "name",
        *kinds,
        "names",
        *(f"{word} name" for word in kinds),
        *(f"name of {word}" for word in kinds),
        *("full name", "fullname", "display name"),
    ]


def _normalize(cell: str) -> str:
    return " ".join(cell.replace("_", " ").replace("-", " ").casefold().split())


def _show(lines: Sequence[Sequence[str]]) -> str:
    """Returns the first two lines as they were read, for a message."""
    shown = (" | ".join(cell[:MAX_CELL_SHOWN] for cell in line) for line in lines[:2])
    return "read as " + " and ".join(repr(line) for line in shown)
