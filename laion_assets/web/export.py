"""Writes lists as files, some rows at a time: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    import pyarrow as pa

Row: TypeAlias = Mapping[str, object]

# What a spreadsheet takes for the beginning of a formula.
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
# Without it, Excel does not read CSV as UTF-8.
BYTE_ORDER_MARK = "\ufeff"
# Columns that are texts; a 64-bit number is one, as JavaScript and spreadsheets would round it.
TEXTS = {"image_id", "url", "caption", "domain", "shard", "kind", "name", "release"}
TEXTS |= {"registered_domain"}
TEXTS |= {"content_sha256", "query"}
WHOLE_NUMBERS = {"width", "height", "row_index", "image_count", "shard_count"}
WHOLE_NUMBERS |= {"hidden_count", "shown_count", "host_count"}
TIMES = {"released_at"}
MAX_NAME_LENGTH = 80


class Writer(Protocol):
    """Writes one file."""

    def begin(self) -> bytes:
        """Returns what comes before all rows."""

    def write(self, rows: Sequence[Row]) -> bytes:
        """Returns some rows."""

    def end(self) -> bytes:
        """Returns what comes after all rows."""


class CsvWriter:
    """Writes CSV as RFC 4180 and Excel have it.

    A text that a spreadsheet would take for a formula gets an apostrophe before it: captions are
    from strangers. The other formats have them as they are.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def begin(self) -> bytes:
        """Returns the header."""
        return (BYTE_ORDER_MARK + ",".join(self._columns) + "\r\n").encode()

    def write(self, rows: Sequence[Row]) -> bytes:
        """Returns a line for each row."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows([_disarm(row[name]) for name in self._columns] for row in rows)
        return text.getvalue().encode()

    def end(self) -> bytes:
        """Returns nothing."""
        return b""


class JsonLinesWriter:
    """Writes a JSON object a line."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns

    def begin(self) -> bytes:
        """Returns nothing."""
        return b""

    def write(self, rows: Sequence[Row]) -> bytes:
        """Returns a line for each row."""
        return "".join(
            json.dumps(
                {name: _as_json(name, row[name]) for name in self._columns}, ensure_ascii=False
            )
            + "\n"
            for row in rows
        ).encode()

    def end(self) -> bytes:
        """Returns nothing."""
        return b""


class ParquetWriter:
    """Writes Parquet, a row group at a time."""

    def __init__(self, columns: Sequence[str]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._schema = pa.schema([(name, _find_type(name)) for name in columns])
        self._sink = _Pipe()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")

    def begin(self) -> bytes:
        """Returns the first bytes of the format."""
        return self._sink.take()

    def write(self, rows: Sequence[Row]) -> bytes:
        """Returns a row group."""
        import pyarrow as pa

        columns = [
            pa.array([_as_text(name, row[name]) for row in rows], self._schema.field(name).type)
            for name in self._schema.names
        ]
        self._writer.write_table(pa.table(columns, self._schema))
        return self._sink.take()

    def end(self) -> bytes:
        """Returns what says where everything is."""
        self._writer.close()
        return self._sink.take()


class _Pipe(io.RawIOBase):
    """Takes bytes from one side and gives them to the other."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._taken = 0

    def writable(self) -> bool:
        return True

    def write(self, some: Any) -> int:
        before = len(self._bytes)
        self._bytes += some
        return len(self._bytes) - before

    def tell(self) -> int:
        """Returns how much was written, of which the format notes places."""
        return self._taken + len(self._bytes)

    def take(self) -> bytes:
        """Returns what was written since the last time."""
        taken = bytes(self._bytes)
        self._taken += len(taken)
        self._bytes.clear()
        return taken


WRITERS: Mapping[str, Callable[[Sequence[str]], Writer]] = {
    ".csv": CsvWriter,
    ".ndjson": JsonLinesWriter,
    ".parquet": ParquetWriter,
}


def name_file(parts: Iterable[str], release: str, suffix: str) -> str:
    """Returns the header `Content-Disposition` of a file that is named after texts and release."""
    words = re.findall(r"\w+(?:\.\w+)*", " ".join(parts))
    name = f"laion-{'-'.join(words)[:MAX_NAME_LENGTH].strip('-.')}-{release}"
    plain = re.sub(r"[^\x21-\x7e]", "_", name)
    header = f'attachment; filename="{plain}{suffix}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name)}{suffix}"


def _disarm(value: object) -> object:
    if isinstance(value, str) and value.startswith(FORMULA_SIGNS):
        return f"'{value}"
    return value


def _as_text(column: str, value: object) -> object:
    """Returns the value, as a text where the column is one."""
    return str(value) if column in TEXTS and value is not None else value


def _as_json(column: str, value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else _as_text(column, value)


def _find_type(column: str) -> pa.DataType:
    import pyarrow as pa

    if column in TEXTS:
        return pa.string()
    if column in WHOLE_NUMBERS:
        return pa.int64()
    return pa.timestamp("us", "UTC") if column in TIMES else pa.float32()
