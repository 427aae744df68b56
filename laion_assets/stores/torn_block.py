"""Makes a DuckDB file readable again whose writer was killed while it wrote a block in place.

A checkpoint of DuckDB 2.0 writes all to free blocks and then the header, with one exception: a
block of metadata has 64 parts, and new parts go into the free ones of a block that the present
header uses (`MetadataManager::Flush`). The parts in use stay as they are. But the block has one
checksum, and when the process dies in the middle of that write, or the machine does, neither the
old nor the new checksum fits any more. No program opens the file then, though nothing is lost.

With a checksum that fits, all that the header refers to is as it was, and DuckDB replays its log.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import duckdb

_TORN = re.compile(
    r"computed checksum (\d+) does not match stored checksum (\d+) in block at location (\d+)"
)
# Three headers come before the first block; one of them with a wrong checksum is another matter.
_FIRST_BLOCK = 3 * 4096
_CHECKSUM = struct.Struct("<Q")


def note_writer(path: Path) -> None:
    """Notes beside a database that somebody writes it, until `forget_writer`."""
    # On a full disk what follows fails, and says why.
    with suppress(OSError):
        _note_of(path).touch()


def forget_writer(path: Path) -> None:
    """Notes that the writer has closed the database."""
    _note_of(path).unlink(missing_ok=True)


def mend_torn_block(
    path: Path, error: duckdb.Error, hold: Callable[[], AbstractContextManager[None]]
) -> bool:
    """Gives the block that an error is about the checksum of what is in it.

    Only where a writer was killed: a block that is wrong for another reason stays as it is, with
    the error that says so.

    Args:
        path: the database.
        error: why DuckDB did not open it.
        hold: keeps other processes of the project out.

    Returns:
        Whether the block is different now, so that it pays to open the database again.

    Raises:
        OSError: the file cannot be written.
    """
    torn = _TORN.search(str(error))
    if torn is None:
        return False
    computed, stored, location = (int(number) for number in torn.groups())
    if location < _FIRST_BLOCK or not _was_left_open(path):
        return False
    with hold(), path.open("r+b", buffering=0) as file:
        # DuckDB's own lock: a program that knows nothing of ours may have the file now.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        present = os.pread(file.fileno(), _CHECKSUM.size, location)
        if present == _CHECKSUM.pack(stored):
            os.pwrite(file.fileno(), _CHECKSUM.pack(computed), location)
            os.fsync(file.fileno())
        # Somebody else who wanted to open it may have been first.
        return present in (_CHECKSUM.pack(stored), _CHECKSUM.pack(computed))


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.writing")


def _was_left_open(path: Path) -> bool:
    # A program that knows nothing of the note leaves its log; ours has none in a large commit.
    return _note_of(path).exists() or path.with_name(f"{path.name}.wal").exists()
