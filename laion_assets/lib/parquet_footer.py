"""Reads a parquet file's footer and page headers: what they say of rows, codecs and checksums.

pyarrow ends the whole process at a footer with an unknown codec or encrypted columns, and DuckDB's
functions stumble over other things in it. So what has to be known of a file that may be damaged is
read here: structures in Thrift's compact protocol.

Source: parquet.thrift of apache/parquet-format, thrift-compact-protocol.md of apache/thrift.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

MAGIC = b"PAR1"
# The length of the footer, and the magic again.
TAIL_BYTES = 8
# By the numbers of the format; names that are not here are future ones.
CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4 of Hadoop", "ZSTD", "LZ4")
# Structures stand in structures; parquet has no more than six levels of them.
MOST_LEVELS = 16

Fields = dict[int, object]


@dataclass(frozen=True)
class Chunk:
    """A column in one row group.

    Attributes:
        column: its name.
        codec: the name of the compression.
        value_count: values, NULL among them.
        offset: where its first page begins.
        page_bytes: all its pages together, with their headers.
    """

    column: str
    codec: str
    value_count: int
    offset: int
    page_bytes: int


@dataclass(frozen=True)
class RowGroup:
    """Rows of a file, and the chunks of its columns, nested ones left out."""

    row_count: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Footer:
    """What the footer says; an encrypted one says nothing of its columns."""

    row_count: int
    row_groups: tuple[RowGroup, ...]
    is_encrypted: bool


@dataclass(frozen=True)
class PageHeader:
    """The header of a page: its own length, the length of what follows, and the CRC-32 of that."""

    header_bytes: int
    page_bytes: int
    checksum: int | None


def read_footer(file: BinaryIO) -> Footer:
    """Reads the footer of a file that begins and ends as parquet does.

    Raises:
        ValueError: it is none.
    """
    file_bytes = file.seek(0, 2)
    file.seek(-TAIL_BYTES, 2)
    (footer_bytes,) = struct.unpack("<I", file.read(4))
    if footer_bytes > file_bytes - TAIL_BYTES - len(MAGIC):
        raise ValueError(f"it claims {footer_bytes} bytes of {file_bytes}")
    file.seek(-TAIL_BYTES - footer_bytes, 2)
    try:
        return _describe(_CompactReader(file.read(footer_bytes)).read_struct())
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("fields are missing or of another type") from error


def read_page_header(head: bytes) -> PageHeader:
    """Reads the header of a page from its first bytes.

    Raises:
        ValueError: it is none, or goes on after these bytes.
    """
    reader = _CompactReader(head)
    fields = reader.read_struct()
    page_bytes, checksum = fields.get(3), fields.get(4)
    if not isinstance(page_bytes, int) or page_bytes < 0:
        raise ValueError("a page has no length")
    # The format has the checksum as a signed number.
    unsigned = checksum & 0xFFFFFFFF if isinstance(checksum, int) else None
    return PageHeader(reader.place, page_bytes, unsigned)


def _describe(fields: Fields) -> Footer:
    is_encrypted = 8 in fields  # noqa: PLR2004 - encryption_algorithm
    groups = () if is_encrypted else cast(list[Fields], fields[4])
    row_groups = tuple(_describe_group(group) for group in groups)
    return Footer(cast(int, fields[3]), row_groups, is_encrypted)


def _describe_group(fields: Fields) -> RowGroup:
    columns = [cast(Fields, column[3]) for column in cast(list[Fields], fields[1])]
    flat = [column for column in columns if len(cast(list[bytes], column[3])) == 1]
    return RowGroup(cast(int, fields[3]), tuple(_describe_chunk(column) for column in flat))


def _describe_chunk(fields: Fields) -> Chunk:
    (name,) = cast(list[bytes], fields[3])
    codec = cast(int, fields[4])
    # The dictionary, where there is one, stands before the data.
    offset = cast(int, fields.get(11) or fields[9])
    return Chunk(
        column=name.decode(errors="replace"),
        codec=CODECS[codec] if 0 <= codec < len(CODECS) else f"an unknown codec, {codec}",
        value_count=cast(int, fields[5]),
        offset=offset,
        page_bytes=cast(int, fields[7]),
    )


class _CompactReader:
    """Reads values of Thrift's compact protocol one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0
        self.level = 0
        # By the protocol's number of the type; 1 and 2 are the booleans of a field.
        self.readers: dict[int, Callable[[], object]] = {
            1: lambda: True,
            2: lambda: False,
            3: self._read_byte,
            4: self._read_integer,
            5: self._read_integer,
            6: self._read_integer,
            7: lambda: self._read_bytes(8),
            8: lambda: self._read_bytes(self._read_unsigned()),
            9: self._read_list,
            10: self._read_list,
            12: self.read_struct,
        }

    def read_struct(self) -> Fields:
        """Returns the values of a structure by the numbers of its fields."""
        self.level += 1
        if self.level > MOST_LEVELS:
            raise ValueError("structures stand too deep in each other")
        fields: Fields = {}
        number = 0
        while head := self._read_byte():
            step = head >> 4
            number = number + step if step else self._read_integer()
            fields[number] = self._read_value(head & 0x0F)
        self.level -= 1
        return fields

    def _read_value(self, kind: int) -> object:
        if kind not in self.readers:
            raise ValueError(f"there is no type {kind}")
        return self.readers[kind]()

    def _read_list(self) -> list[object]:
        head = self._read_byte()
        size, kind = head >> 4, head & 0x0F
        if size == 0x0F:  # noqa: PLR2004 - too many for half a byte
            size = self._read_unsigned()
        if size > len(self.content):
            raise ValueError(f"a list claims {size} values")
        # The booleans of a list, other than those of a field, take a byte each.
        is_boolean = kind in (1, 2)
        return [self._read_byte() if is_boolean else self._read_value(kind) for _ in range(size)]

    def _read_byte(self) -> int:
        # The most frequent by far: not by way of `_read_bytes`.
        if self.place >= len(self.content):
            raise ValueError("it ends too early")
        self.place += 1
        return self.content[self.place - 1]

    def _read_bytes(self, size: int) -> bytes:
        end = self.place + size
        if end > len(self.content):
            raise ValueError("it ends too early")
        value, self.place = self.content[self.place : end], end
        return value

    def _read_unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._read_byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last seven bits
                return value
            shift += 7

    def _read_integer(self) -> int:
        value = self._read_unsigned()
        return (value >> 1) ^ -(value & 1)
