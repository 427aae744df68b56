"""Proves that a file is whole parquet: beginning and end, footer, schema, and every page we read.

Pages are decoded by DuckDB, as loading does it, so that what passes here can be loaded; columns
that we do not read are not touched. Bytes that are no UTF-8 are no reason to refuse:
`text_repair.py` mends them. A flipped bit that makes other valid data shows only where the writer
added checksums that are looked at, as gzip does, or where somebody promised the file's SHA-256.
"""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from laion_assets.errors import ShardError, first_line
from laion_assets.raw_shards.source_columns import check_columns, list_read_columns
from laion_assets.stores.database import open_engine
from laion_assets.stores.reasons import find_system_reason
from laion_assets.stores.sql import load_sql, quote_identifier, quote_literal, quote_path

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
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
READABLE_CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "BROTLI", "LZ4_RAW")
# DuckDB would else answer count(column) from the footer where that says there is no NULL, and
# leave the pages alone.
DECODE_ALL = {"disabled_optimizers": "statistics_propagation"}
# Makes pyarrow read a column bit by bit; it would else hold the whole of a row group.
STREAMED = {"pre_buffer": False, "buffer_size": 1 << 20}


@dataclass(frozen=True)
class ParquetFacts:
    """What a whole file turned out to have.

    Attributes:
        row_count: rows.
        is_utf8: whether its texts are what they claim to be.
    """

    row_count: int
    is_utf8: bool


# DuckDB shows the key of a signed footer as text, which bytes need not be.
_KEY_IS_NO_TEXT = "Invalid unicode"


@dataclass(frozen=True)
class _Chunk:
    """A column of a row group, as the footer has it."""

    row_group: int
    column: str
    codec: str
    value_count: int
    row_count: int

    @property
    def place(self) -> str:
        return f"row group {self.row_group}, column {self.column}"


def verify_parquet(path: Path, name: str) -> ParquetFacts:
    """Checks that the file is parquet, has the columns that we need, and can be decoded.

    Args:
        path: the file.
        name: what to call it in an error.

    Raises:
        ShardError: it is not, has not, or cannot.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _check_ends(path, name)
        with open_engine(**DECODE_ALL) as connection, plain_path(path) as readable:
            connection.execute(load_sql("raw_shards/set_progress_off"))
            connection.execute(load_sql("raw_shards/set_geoparquet_off"))
            # In this order: pyarrow ends the process where the footer has an unknown codec.
            chunks, has_secrets = _check_footer(connection, readable, name)
            with pq.ParquetFile(path, **STREAMED) as file:
                check_columns(file.schema_arrow, name)
                columns = list_read_columns(file.schema_arrow)
                _check_chunks([chunk for chunk in chunks if chunk.column in columns], name)
                if has_secrets:
                    # DuckDB would take encrypted pages for damaged ones.
                    _find_damage(file, columns, name)
                is_utf8 = _check_pages(connection, file, readable, columns, name)
                # Each page of this codec is a gzip file, with a checksum that DuckDB passes over.
                if any(chunk.codec == "GZIP" for chunk in chunks if chunk.column in columns):
                    _find_damage(file, columns, name)
                return ParquetFacts(int(file.metadata.num_rows), is_utf8)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _unreadable_footer(name, error) from error
    except OSError as error:
        # pyarrow has its own words for a footer that leads nowhere, and no error number.
        if error.errno is None:
            raise _unreadable_footer(name, error) from error
        reason = find_system_reason(error, name)
        raise ShardError(
            reason or f"{name}: {error.strerror}; check the file and the disk",
            code="shard-file-unreadable",
        ) from error


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


def _check_ends(path: Path, name: str) -> None:
    with path.open("rb") as file:
        head = file.read(512)
        file_bytes = file.seek(0, 2)
        file.seek(max(0, file_bytes - len(MAGIC)))
        tail = file.read()
    if not head:
        raise ShardError(f"{name}: is empty; fetch it again", code="shard-empty")
    if head.startswith(ENCRYPTED_MAGIC):
        raise _encrypted(name)
    if not head.startswith(MAGIC):
        raise ShardError(
            f"{name}: is {_recognize(head)}; correct the address, or fetch it again",
            code="shard-not-parquet",
        )
    if file_bytes < LEAST_BYTES or tail != MAGIC:
        raise ShardError(
            f"{name}: is cut off: it does not end with a parquet footer; fetch it again",
            code="shard-cut-off",
        )


def _recognize(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    found = next((what for start, what in PAGES.items() if text.startswith(start)), "not parquet")
    if found == "not parquet":
        return f"no parquet file, it begins with {head[: len(MAGIC)]!r}"
    return f"{found} and not a parquet file"


def _check_footer(
    connection: duckdb.DuckDBPyConnection, path: Path, name: str
) -> tuple[list[_Chunk], bool]:
    """Returns the chunks of all columns, and whether some may be encrypted."""
    quoted = quote_path(str(path))
    chunks: list[_Chunk] = []
    try:
        query = load_sql("raw_shards/select_parquet_chunks").format(path=quoted)
        chunks = [_Chunk(*row) for row in connection.execute(query).fetchall()]
        group_rows = sum({chunk.row_group: chunk.row_count for chunk in chunks}.values())
        query = load_sql("raw_shards/select_parquet_file").format(path=quoted)
        ((row_count, encryption),) = connection.execute(query).fetchall()
    except duckdb.InvalidInputException as error:
        if chunks and _KEY_IS_NO_TEXT in str(error):
            return chunks, True
        if "is encrypted" in str(error):
            raise _encrypted(name) from error
        raise _unreadable_footer(name, error) from error
    except duckdb.Error as error:
        if "is encrypted" in str(error):
            raise _encrypted(name) from error
        raise _unreadable_footer(name, error) from error
    if group_rows != row_count:
        raise _damaged(name, f"its row groups have {group_rows} rows, its footer says {row_count}")
    return chunks, encryption is not None


def _check_chunks(chunks: Sequence[_Chunk], name: str) -> None:
    for chunk in chunks:
        if chunk.codec not in READABLE_CODECS:
            raise ShardError(
                f"{name}: {chunk.place} is compressed with {chunk.codec}, which cannot be read; "
                "write the file again with zstd or snappy",
                code="shard-compression-unknown",
            )
        if chunk.value_count != chunk.row_count:
            raise _damaged(
                name, f"{chunk.place} has {chunk.value_count} of {chunk.row_count} values"
            )


def _check_pages(
    connection: duckdb.DuckDBPyConnection,
    file: pq.ParquetFile,
    path: Path,
    columns: Sequence[str],
    name: str,
) -> bool:
    """Decodes every page; returns whether all texts are UTF-8."""
    is_utf8 = True
    try:
        try:
            row_count = _decode_pages(connection, path, columns, "strict")
        except duckdb.InvalidInputException:
            # Texts that are no UTF-8, which pyarrow will have to read, or damage.
            _find_damage(file, columns, name)
            is_utf8, row_count = False, _decode_pages(connection, path, columns, "ignore")
    except duckdb.OutOfMemoryException as error:
        raise ShardError(
            f"{name}: {first_line(error)}; free memory, then run it again",
            code="shard-needs-memory",
        ) from error
    except duckdb.Error as error:
        _find_damage(file, columns, name)
        raise _damaged(name, first_line(error)) from error
    if row_count != file.metadata.num_rows:
        raise _damaged(name, f"{row_count} of {file.metadata.num_rows} rows can be read")
    return is_utf8


def _decode_pages(
    connection: duckdb.DuckDBPyConnection, path: Path, columns: Sequence[str], validation: str
) -> int:
    counts = ", ".join(f"count({quote_identifier(column)})" for column in columns)
    query = load_sql("raw_shards/verify_pages").format(
        counts=counts, path=quote_path(str(path)), validation=quote_literal(validation)
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
                if "ecrypt" in str(error):
                    raise _encrypted(f"{name}: column {column}") from error
                place = f"row group {group}, column {column}"
                raise _damaged(name, f"{place} ({first_line(error)})") from error


def _encrypted(name: str) -> ShardError:
    return ShardError(f"{name}: is encrypted; decrypt it first", code="shard-encrypted")


def _unreadable_footer(name: str, error: Exception) -> ShardError:
    return _damaged(name, f"its footer cannot be read ({first_line(error)})")


def _damaged(name: str, what: str) -> ShardError:
    return ShardError(f"{name}: is damaged: {what}; fetch it again", code="shard-damaged")
