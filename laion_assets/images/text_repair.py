"""Repairs texts that are no UTF-8: what cannot be decoded becomes U+FFFD, and the row stays.

DuckDB refuses a file with such bytes, or drops them. So a copy is made of the columns that we read,
its rows in the same order, and loaded in place of the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.raw_shards.source_columns import is_text, list_read_columns
from laion_assets.raw_shards.verify import STREAMED

if TYPE_CHECKING:
    import pyarrow as pa

# A row group of the copy, and what is in memory at once.
BATCH_ROWS = 16_384


@contextmanager
def repair_file(path: Path) -> Iterator[tuple[Path, int]]:
    """Yields a copy that lives for the block, and how many rows were repaired in it.

    Raises:
        pyarrow.ArrowException: the file cannot be decoded, for another reason than its texts.
    """
    # Beside the file: where there was room for that one.
    with tempfile.TemporaryDirectory(prefix=".repair-", dir=path.parent) as folder:
        copy = Path(folder) / "shard.parquet"
        yield copy, _write_repaired(path, copy)


def repair_texts(texts: pa.Array) -> tuple[pa.Array, list[bool]]:
    """Returns the texts in UTF-8, and for each whether it had to be repaired.

    Args:
        texts: strings or bytes of any Arrow type.

    Returns:
        The same texts, as Python's `bytes.decode(errors="replace")` gives them; and the flags, none
        at all if no text was touched.
    """
    import pyarrow as pa

    values = texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts
    # Bytes first: Arrow checks them when they become strings, not what calls itself a string.
    values = values.cast(pa.large_binary())
    try:
        return values.cast(pa.large_string()), []
    except pa.ArrowInvalid:
        pieces = values.to_pylist()
    repaired = [None if b is None else b.decode(errors="replace") for b in pieces]
    is_repaired = [
        text is not None and text.encode() != b for text, b in zip(repaired, pieces, strict=True)
    ]
    return pa.array(repaired, pa.large_string()), is_repaired


def _write_repaired(path: Path, copy: Path) -> int:
    import pyarrow.parquet as pq

    repaired_count = 0
    writer = None
    with pq.ParquetFile(path, **STREAMED) as file:
        columns = list_read_columns(file.schema_arrow)
        try:
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                repaired, count = _repair_batch(batch)
                repaired_count += count
                writer = writer or pq.ParquetWriter(copy, repaired.schema)
                writer.write_batch(repaired)
        finally:
            if writer is not None:
                writer.close()
    return repaired_count


def _repair_batch(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, int]:
    import pyarrow as pa

    arrays, flags = [], []
    for array in batch.columns:
        if is_text(array.type):
            array, is_repaired = repair_texts(array)  # noqa: PLW2901
            flags.append(is_repaired or [False] * len(array))
        arrays.append(array)
    return pa.record_batch(arrays, batch.schema.names), sum(map(any, zip(*flags, strict=True)))
