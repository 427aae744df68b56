"""Checks, before anything is written, that a disk has room for it.

The estimates are upper bounds for rows as LAION has them. A refused step has changed nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from laion_assets.errors import LaionError
from laion_assets.schemas import LANCE_EMBEDDINGS
from laion_assets.stores.shard_fragments import list_fragments_with

if TYPE_CHECKING:
    import lance


# What is written beside the rows, at least: locks, logs, versions, a checkpoint.
LEAST_BYTES = 1 << 20
# Lance, whose strings are compressed less than DuckDB's.
LANCE_SHARE_OF_DUCKDB = 1.5
# Full text with positions takes up to 60 bytes a row, the other indices as many;
# a merge holds both sides.
INDEX_BYTES_A_ROW = 200
# An index of vectors takes five bits a number; the old one, the new one, and what it is sorted in.
INDEX_BYTES_A_NUMBER = 2


class DiskSpaceError(LaionError):
    """A disk has less room than a step needs; nothing was written."""


def check_space(
    folder: Path, needed_bytes: int, what: str, *, free_bytes: int | None = None
) -> None:
    """Checks that there is room on the disk of a folder.

    Args:
        folder: where it will be written; its nearest parent that exists is asked.
        needed_bytes: how much will be written at most.
        what: what needs it, to be named.
        free_bytes: the free space; by default what the disk says.

    Raises:
        DiskSpaceError: there is less; the message has both numbers.
    """
    place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free if free_bytes is None else free_bytes
    if needed_bytes > free:
        missing = needed_bytes - free
        raise DiskSpaceError(
            f"{what}: needs up to {_show(needed_bytes)} on the disk of {folder}, which has "
            f"{_show(free)} free; make room for {_show(missing)} more, then try again",
            code="disk-too-small",
        )


def estimate_copy(database: Path, row_count: int, total_rows: int) -> int:
    """Returns what so many rows take in Lance at most, by what all rows take in DuckDB's file."""
    # Where both are in a bucket there is no file, and room enough.
    file_bytes = database.stat().st_size if database.exists() else 0
    bytes_a_row = file_bytes / max(total_rows, 1)
    return LEAST_BYTES + int(LANCE_SHARE_OF_DUCKDB * bytes_a_row * row_count)


def estimate_release(dataset: lance.LanceDataset) -> int:
    """Returns what the indices of a Lance table take at most, if all are built again."""
    bytes_needed = LEAST_BYTES + INDEX_BYTES_A_ROW * dataset.count_rows()
    column = LANCE_EMBEDDINGS[0].name
    if column in dataset.schema.names:
        rows = sum(f.count_rows() for f in list_fragments_with(dataset, [column]))
        bytes_needed += INDEX_BYTES_A_NUMBER * dataset.schema.field(column).type.list_size * rows
    return bytes_needed


def estimate_rows(dataset: lance.LanceDataset, row_count: int) -> int:
    """Returns what so many rows of a Lance table take as a table of their own, by what all take."""
    files = (file for fragment in dataset.get_fragments() for file in fragment.data_files())
    total_bytes = sum(file.file_size_bytes or 0 for file in files)
    share = row_count / max(dataset.count_rows(), 1)
    return LEAST_BYTES + int(total_bytes * share) + INDEX_BYTES_A_ROW * row_count


def measure_folder(folder: Path) -> int:
    """Returns the size of all files in a folder, with those below it."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _show(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
