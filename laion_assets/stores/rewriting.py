"""Writes the files of a shard again without what belongs to some of its rows.

The rows keep their places: in the parquet file all their values are NULL, in a file of vectors all
numbers are 0, and an archive has no members of theirs. A file may be a link to the user's own, so
each is written anew and renamed.
"""

from __future__ import annotations

import shutil
import tarfile
from bisect import bisect_left
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_READ_AHEAD = {"pre_buffer": False, "buffer_size": 1 << 20}
BATCH_ROWS = 65_536


def remove_from_parquet(path: Path, target: Path, rows: Sequence[int]) -> None:
    """Writes a parquet file with NULL for all values of some rows, a row group at a time.

    Args:
        path: the file.
        target: where it is written.
        rows: their positions, ascending.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, **_READ_AHEAD) as file:
        schema = file.schema_arrow
        for number, field in enumerate(schema):
            schema = schema.set(number, field.with_nullable(True))
        said = {k: v for k, v in (file.metadata.metadata or {}).items() if k != b"ARROW:schema"}
        with pq.ParquetWriter(target, schema, compression=_find_compression(file)) as writer:
            # What the file says of itself, such as that its rows are invented.
            writer.add_key_value_metadata(said)
            start = 0
            for group in range(file.num_row_groups):
                table = pa.Table.from_arrays(file.read_row_group(group).columns, schema=schema)
                end = start + table.num_rows
                first, last = bisect_left(rows, start), bisect_left(rows, end)
                places = [row - start for row in rows[first:last]]
                writer.write_table(_blank(table, places), row_group_size=max(table.num_rows, 1))
                start = end


def remove_members(path: Path, keys: Collection[str]) -> None:
    """Removes the members of some keys from an archive, if there is one.

    Args:
        path: of the archive.
        keys: names of members up to their first dot, without folders.
    """
    if not keys or not path.exists():
        return
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with (
            tarfile.open(path, mode="r:") as archive,
            tarfile.open(unfinished, mode="w:") as written,
        ):
            for member in archive:
                key = PurePosixPath(member.name).name.partition(".")[0]
                if key not in keys:
                    written.addfile(member, archive.extractfile(member))
                # They would else remember a kilobyte for each member.
                archive.members = written.members = []  # type: ignore[attr-defined]
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_vectors(path: Path, rows: Sequence[int]) -> None:
    """Writes 0 for all numbers of some rows of a `.npy` file, if there is one.

    Args:
        path: of the file.
        rows: their positions.
    """
    import numpy as np

    if not rows or not path.exists():
        return
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        shutil.copyfile(path, unfinished)
        # One that is no such file is never read either.
        with suppress(ValueError):
            vectors = np.load(unfinished, mmap_mode="r+", allow_pickle=False)
            vectors[[row for row in rows if row < len(vectors)]] = 0
            vectors.flush()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _blank(table: pa.Table, places: Sequence[int]) -> pa.Table:
    """Returns a table with NULL in all columns of some rows; the rows of other batches are shared.

    Args:
        table: the rows.
        places: positions in it, ascending.
    """
    import numpy as np
    import pyarrow as pa

    if not places:
        return table
    is_removed = np.zeros(table.num_rows, np.bool_)
    is_removed[list(places)] = True
    batches, start = [], 0
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        mask = is_removed[start : start + batch.num_rows]
        start += batch.num_rows
        # An index that is NULL takes a row of NULL, whatever the type.
        rows = pa.array(np.arange(batch.num_rows), mask=mask)
        batches.append(batch.take(rows) if mask.any() else batch)
    return pa.Table.from_batches(batches, table.schema)


def _find_compression(file: object) -> str:
    """Returns how the first column is packed; Arrow's default where it cannot pack so."""
    metadata = file.metadata  # type: ignore[attr-defined]
    if not metadata.num_row_groups or not metadata.num_columns:
        return "snappy"
    name = str(metadata.row_group(0).column(0).compression).lower()
    return {"uncompressed": "none", "lz4_raw": "lz4"}.get(name, name)
