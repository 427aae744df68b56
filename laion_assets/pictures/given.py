"""Reads the pictures that a shard brings, and what it says of them, row by row in bounded memory.

They are in a column of the parquet file: bytes, or a struct with `bytes` as the Hugging Face Hub
has them. Or they are in `<shard>.tar` beside it, by the column `key`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.pictures.archive import Archive, open_archive
from laion_assets.raw_shards.picture_columns import find_key, find_picture_columns
from laion_assets.raw_shards.row_parts import RowParts
from laion_assets.schemas import LANCE_PICTURES, arrow_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

# How much of pictures is held at a time, about.
HELD_BYTES = 8 << 20
MAX_BATCH_ROWS = 1024
SOURCED = tuple(column for column in LANCE_PICTURES if column.sources)
# The name of the keys beside these.
KEY = "key"
_LARGEST_INTEGER = 2**31 - 1


class GivenPictures:
    """What a shard's file says of its pictures.

    Args:
        file: the open parquet file.
        archive: the open archive beside it, if there is one.
    """

    def __init__(self, file: pq.ParquetFile, archive: Archive | None) -> None:
        self._file = file
        self._archive = archive
        self._names = find_picture_columns(file.schema_arrow)
        self._key = None if archive is None else find_key(file.schema_arrow)
        self._columns = [*self._names.values(), *([self._key] if self._key else [])]
        self._parts = RowParts(self._read())

    def take(self, rows: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
        """Yields what the file says of these rows, in parts of a bounded size.

        Args:
            rows: places in the file, ascending, each after those of the call before.

        Yields:
            The columns of `LANCE_PICTURES` that a source can have, NULL where it lacks one.
        """
        import pyarrow as pa

        if not self._columns:
            yield self._map(pa.record_batch({"row": rows}))
            return
        for part, places in self._parts.take(rows):
            yield from self._fill(part.take(pa.array(places)))

    def _read(self) -> Iterator[pa.RecordBatch]:
        for group in range(self._file.num_row_groups):
            for batch in self._file.iter_batches(
                self._batch_rows(group), row_groups=[group], columns=self._columns
            ):
                yield self._map(batch)

    def _batch_rows(self, group: int) -> int:
        """Returns how many rows of a group hold about as many bytes as may be held."""
        metadata = self._file.metadata.row_group(group)
        image = self._names.get("image")
        size = sum(
            column.total_uncompressed_size
            for number in range(metadata.num_columns)
            if (column := metadata.column(number)).path_in_schema.split(".")[0] == image
        )
        fitting = HELD_BYTES * int(metadata.num_rows) // max(int(size), 1)
        return min(MAX_BATCH_ROWS, max(1, fitting))

    def _map(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Returns rows of the file as our columns, and their keys where there is an archive."""
        import pyarrow as pa

        columns = {
            field.name: _convert(rows[self._names[field.name]], field.type)
            if field.name in self._names
            else pa.nulls(len(rows), field.type)
            for field in arrow_schema(SOURCED)
        }
        if self._key:
            columns[KEY] = _to_text(rows[self._key])
        return pa.record_batch(columns)

    def _fill(self, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yields rows with the pictures of the archive, in parts by the size of these."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self._archive is None or self._key is None:
            yield rows
            return
        keys = rows[KEY].to_pylist()
        rows = rows.drop_columns([KEY])
        start = held = 0
        for number, key in enumerate(keys):
            held += self._archive.measure(key)
            if held >= HELD_BYTES or number == len(keys) - 1:
                archived = [self._archive.read(one) for one in keys[start : number + 1]]
                part = rows.slice(start, number + 1 - start)
                images = pc.coalesce(part["image"], pa.array(archived, pa.large_binary()))
                yield part.set_column(0, "image", images)
                start, held = number + 1, 0


@contextmanager
def open_given(path: Path, archive: Path | None) -> Iterator[GivenPictures]:
    """Opens a shard's file, and the archive beside it.

    Args:
        path: the verified parquet file.
        archive: the tar file; None if there is none.

    Raises:
        ShardError: the archive cannot be read.
    """
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        # Read bit by bit: it would else hold the whole of a row group.
        file = stack.enter_context(pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20))
        opened = stack.enter_context(open_archive(archive, str(archive))) if archive else None
        yield GivenPictures(file, opened)


def _convert(values: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_large_binary(kind):
        return _to_bytes(values)
    return _to_text(values) if pa.types.is_string(kind) else _to_integer(values)


def _to_bytes(values: pa.Array) -> pa.Array:
    """Returns pictures; one without any byte is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(values.type):
        # With the NULLs of the structs themselves.
        values = pc.struct_field(values, "bytes")
    values = values.cast(pa.large_binary())
    return pc.if_else(pc.greater(pc.binary_length(values), 0), values, None)


def _to_text(values: pa.Array) -> pa.Array:
    """Returns texts, whatever their bytes."""
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_null(values.type) or pa.types.is_integer(values.type):
        return values.cast(pa.string())
    try:
        return values.cast(pa.large_binary()).cast(pa.string())
    except pa.ArrowInvalid:
        texts = values.cast(pa.large_binary()).to_pylist()
        return pa.array([t if t is None else t.decode(errors="replace") for t in texts])


def _to_integer(values: pa.Array) -> pa.Array:
    """Returns numbers of pixels; what cannot be one is NULL."""
    import numpy as np
    import pyarrow as pa

    numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    is_good = (numbers >= 0) & (numbers <= _LARGEST_INTEGER)
    whole = np.where(is_good, numbers, 0).astype(np.int32)
    return pa.array(whole, mask=~is_good)
