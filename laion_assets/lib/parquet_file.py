"""Proves that a file is whole parquet: beginning and end, footer, schema, and every page we read.

Pages are decoded by DuckDB, as loading does it, so that what passes here can be loaded; columns
that we do not read are not touched. Where the writer put checksums on its pages, they are compared
too. Bytes that are no UTF-8 are no reason to refuse: `text_repair.py` mends them.
"""

from __future__ import annotations

import glob
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import duckdb

from laion_assets.lib.errors import ShardError, first_line
from laion_assets.lib.parquet_footer import (
    MAGIC,
    Chunk,
    Footer,
    PageHeader,
    RowGroup,
    read_footer,
    read_page_header,
)
from laion_assets.lib.source_columns import check_columns, list_read_columns, list_text_columns
from laion_assets.lib.sql import load_sql, quote_identifier, quote_literal, quote_path

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ENCRYPTED_MAGIC = b"PARE"
# The least parquet there can be: both magics, and the length of the footer.
LEAST_BYTES = 12
# What a server sends in place of a file, by how it begins, in lower case.
PAGES = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML document",
    b"{": "a JSON document",
    b"version https://git-lfs": "a pointer of Git LFS",
}
# What DuckDB and pyarrow both read.
READABLE_CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "BROTLI", "LZ4")
# DuckDB would else answer count(column) from the footer where that says there is no NULL, and
# leave the pages alone.
DECODE_ALL = {"disabled_optimizers": "statistics_propagation"}
# Of a page's header at first; its statistics can make it longer.
HEADER_BYTES = 1024
# Makes pyarrow read a column bit by bit; it would else hold the whole of a row group.
STREAMED = {"pre_buffer": False, "buffer_size": 1 << 20}


def verify_parquet(path: Path, name: str) -> int:
    """Checks that the file is parquet, has the columns that we need, and can be decoded.

    Args:
        path: the file.
        name: what to call it in an error.

    Returns:
        The number of its rows.

    Raises:
        ShardError: it is not, has not, or cannot.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # In this order: pyarrow ends the process where the footer has what `_check_footer` refuses.
        _check_ends(path, name)
        footer = _check_footer(path, name)
        with pq.ParquetFile(path, **STREAMED) as file:
            check_columns(file.schema_arrow, name)
            columns = list_read_columns(file.schema_arrow.names)
            _check_chunks(footer, columns, name)
            _check_pages(file, path, columns, name)
            _check_checksums(file, path, footer, columns, name)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _unreadable_footer(name, error) from error
    except OSError as error:
        # pyarrow has its own words for a footer that leads nowhere, and no error number.
        if error.errno is None:
            raise _unreadable_footer(name, error) from error
        raise ShardError(f"{name}: {error.strerror}; check the file and the disk") from error
    return footer.row_count


@contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    r"""Yields a path of the file that DuckDB takes as it is.

    DuckDB's globs know no escape for `\`, and stumble over names with it beside the file that was
    meant. Where a path has such a sign, a link without one leads to the file.
    """
    absolute = path.absolute()
    if not glob.has_magic(str(absolute)) and "\\" not in str(absolute):
        yield absolute
        return
    with tempfile.TemporaryDirectory(prefix="laion-") as folder:
        link = Path(folder) / "shard.parquet"
        link.symlink_to(absolute)
        yield link


def has_invalid_text(path: Path) -> bool:
    """Tells whether a verified file has texts that are no UTF-8.

    It is asked on a connection of its own: the transaction of who asks would not survive the error.

    Raises:
        duckdb.Error: the file cannot be decoded, for another reason.
    """
    import pyarrow.parquet as pq

    try:
        _decode_pages(path, list_text_columns(pq.read_schema(path)), "strict")
    except duckdb.InvalidInputException:
        return True
    return False


def _check_ends(path: Path, name: str) -> None:
    with path.open("rb") as file:
        head = file.read(512)
        file_bytes = file.seek(0, 2)
        file.seek(max(0, file_bytes - len(MAGIC)))
        tail = file.read()
    if not head:
        raise ShardError(f"{name}: is empty; fetch it again")
    if head.startswith(ENCRYPTED_MAGIC):
        raise _encrypted(name)
    if not head.startswith(MAGIC):
        raise ShardError(f"{name}: is {_recognize(head)}; correct the address, or fetch it again")
    if file_bytes < LEAST_BYTES or tail != MAGIC:
        raise ShardError(f"{name}: is cut off, its end is no parquet footer; fetch it again")


def _recognize(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    found = next((what for start, what in PAGES.items() if text.startswith(start)), "not parquet")
    if found == "not parquet":
        return f"no parquet file, it begins with {head[: len(MAGIC)]!r}"
    return f"{found} and not a parquet file"


def _check_footer(path: Path, name: str) -> Footer:
    try:
        with path.open("rb") as file:
            footer = read_footer(file)
    except ValueError as error:
        raise _unreadable_footer(name, error) from error
    if footer.is_encrypted:
        raise _encrypted(name)
    row_count = sum(group.row_count for group in footer.row_groups)
    if row_count != footer.row_count:
        raise _damaged(
            name, f"its row groups have {row_count} rows, its footer says {footer.row_count}"
        )
    return footer


def _check_chunks(footer: Footer, columns: Sequence[str], name: str) -> None:
    for place, group, chunk in _list_chunks(footer, columns):
        if chunk.codec not in READABLE_CODECS:
            raise ShardError(
                f"{name}: {place} is compressed with {chunk.codec}, which cannot be read; "
                "write the file again with zstd or snappy"
            )
        if chunk.value_count != group.row_count:
            raise _damaged(name, f"{place} has {chunk.value_count} of {group.row_count} values")


def _list_chunks(footer: Footer, columns: Sequence[str]) -> list[tuple[str, RowGroup, Chunk]]:
    return [
        (f"row group {number}, column {chunk.column}", group, chunk)
        for number, group in enumerate(footer.row_groups)
        for chunk in group.chunks
        if chunk.column in columns
    ]


def _check_pages(file: pq.ParquetFile, path: Path, columns: Sequence[str], name: str) -> None:
    try:
        try:
            row_count = _decode_pages(path, columns, "strict")
        except duckdb.InvalidInputException:
            # Texts that are no UTF-8, which pyarrow will have to read, or damage.
            _find_damage(file, columns, name)
            row_count = _decode_pages(path, columns, "ignore")
    except duckdb.OutOfMemoryException as error:
        raise ShardError(f"{name}: {first_line(error)}; see to memory") from error
    except duckdb.Error as error:
        _find_damage(file, columns, name)
        raise _damaged(name, first_line(error)) from error
    if row_count != file.metadata.num_rows:
        raise _damaged(name, f"{row_count} of {file.metadata.num_rows} rows can be read")


def _decode_pages(path: Path, columns: Sequence[str], validation: str) -> int:
    counts = ", ".join(f"count({quote_identifier(column)})" for column in columns)
    with duckdb.connect(config=dict(DECODE_ALL)) as connection, plain_path(path) as readable:
        query = load_sql("verify_pages").format(
            counts=counts, path=quote_path(str(readable)), validation=quote_literal(validation)
        )
        ((row_count, *_),) = connection.execute(query).fetchall()
    return int(row_count)


def _find_damage(file: pq.ParquetFile, columns: Sequence[str], name: str) -> None:
    """Reads chunk by chunk, and names the first that cannot be read, if pyarrow finds one."""
    import pyarrow as pa

    for group in range(file.num_row_groups):
        for column in columns:
            try:
                for _ in file.iter_batches(row_groups=[group], columns=[column]):
                    pass
            except (pa.ArrowException, OSError) as error:
                place = f"row group {group}, column {column}"
                raise _damaged(name, f"{place} ({first_line(error)})") from error


def _check_checksums(
    file: pq.ParquetFile, path: Path, footer: Footer, columns: Sequence[str], name: str
) -> None:
    chunks = _list_chunks(footer, columns)
    # Each page of this codec is a gzip file, which ends with a checksum that DuckDB passes over.
    if any(chunk.codec == "GZIP" for _, _, chunk in chunks):
        _find_damage(file, columns, name)
    with path.open("rb") as content:
        for place, _, chunk in chunks:
            try:
                if not _check_chunk(content, chunk):
                    return
            except ValueError as error:
                raise _damaged(name, f"{place} ({error})") from error


def _check_chunk(content: BinaryIO, chunk: Chunk) -> bool:
    """Compares the checksums of a chunk's pages, unless a writer left them out."""
    place, end = chunk.offset, chunk.offset + chunk.page_bytes
    while place < end:
        header = _read_header(content, place, end)
        if header.checksum is None:
            return False
        content.seek(place + header.header_bytes)
        if zlib.crc32(content.read(header.page_bytes)) != header.checksum:
            raise ValueError(f"the page at byte {place} has another checksum")
        place += header.header_bytes + header.page_bytes
    return True


def _read_header(content: BinaryIO, place: int, end: int) -> PageHeader:
    size = HEADER_BYTES
    while True:
        content.seek(place)
        try:
            return read_page_header(content.read(size))
        except ValueError:
            if place + size >= end:
                raise
            size *= 16


def _encrypted(name: str) -> ShardError:
    return ShardError(f"{name}: is encrypted; decrypt it first")


def _unreadable_footer(name: str, error: Exception) -> ShardError:
    return _damaged(name, f"its footer cannot be read ({first_line(error)})")


def _damaged(name: str, what: str) -> ShardError:
    return ShardError(f"{name}: is damaged: {what}; fetch it again")
