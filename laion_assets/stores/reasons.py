"""Says in one line why something failed, whichever library raised it, and what to do about it."""

from __future__ import annotations

import errno
import os
import re
import traceback
from pathlib import Path

from laion_assets.errors import LaionError, first_line
from laion_assets.settings import SettingsError

PACKAGE = Path(__file__).parents[1]
_PERMISSION = "permission denied; give this user access to it, then run it again"
_NO_ROOM = "the disk is full; make room, then run it again"
_READ_ONLY = (
    "the file system is read-only; make it writable, or set LAION_DATA_DIR to another folder"
)
_FILES = "too many open files; raise the limit with `ulimit -n`, then run it again"
_MEMORY = "out of memory; free memory or load smaller shards, then run it again"
# What the system says, and what to do. None of it passes by being tried again at once.
REMEDIES = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: "the disk quota is used up; make room, then run it again",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: _READ_ONLY,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: _MEMORY,
    errno.EIO: "the disk cannot be read or written; check the disk",
}
# The same in the words of libraries that give no number.
_WORDS = {
    **{os.strerror(number).lower(): number for number in REMEDIES},
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EACCES,
    "unable to open database file": errno.EACCES,
}
_NUMBER = re.compile(r"(?:os error|errno:?) (\d+)", re.IGNORECASE)
_QUOTED_PATH = re.compile(r"""["'](/[^"']+)["']""")
_PATH = re.compile(r"""(?<![\w./-])(/[^\s"':,()]+)""")
# Rust's libraries name the line of their own source.
_SOURCE_SUFFIX = ".rs"


def give_reason(error: BaseException) -> str:
    """Returns why something failed, in one line.

    The errors of this project say it themselves. What the system refuses has a path and a remedy.
    DuckDB's errors are cut to their first line. Anything else is a bug, and says where it is.
    """
    import duckdb

    if isinstance(error, LaionError | SettingsError):
        return _join_lines(str(error))
    if reason := find_system_reason(error):
        return reason
    if isinstance(error, duckdb.Error):
        return f"DuckDB: {first_line(error)}"
    return describe_bug(error)


def name_code(error: BaseException) -> str:
    """Returns the code of an error, for programs; docs/reference/messages.md lists them."""
    import duckdb

    if isinstance(error, LaionError | SettingsError):
        return error.code
    if find_system_reason(error):
        return "system-refused"
    return "duckdb-failed" if isinstance(error, duckdb.Error) else "internal-error"


def find_system_reason(error: BaseException, place: Path | str | None = None) -> str | None:
    """Returns what the system refuses, where and what to do; None if the error is another one.

    Args:
        error: from Python, DuckDB, Lance, Arrow or SQLite.
        place: named if the error names no path.
    """
    if not _may_be_the_system(error):
        return None
    number = _find_number(error)
    if number not in REMEDIES:
        return find_system_reason(error.__cause__, place) if error.__cause__ else None
    return f"{_find_path(error) or place or 'the data folder (LAION_DATA_DIR)'}: {REMEDIES[number]}"


def describe_bug(error: BaseException) -> str:
    """Returns one line about an error that nobody should see, and asks to report it."""
    text = _join_lines(str(error))
    place = _find_place(error)
    return f"internal error ({type(error).__name__}{place}{text and f': {text}'}); please report it"


def _may_be_the_system(error: BaseException) -> bool:
    """Returns whether a library reports with this class what the system told it."""
    import sqlite3

    import duckdb

    libraries = ("lance", "lancedb", "pyarrow", "sqlalchemy")
    return isinstance(
        error, OSError | MemoryError | sqlite3.Error | duckdb.Error | RuntimeError
    ) or type(error).__module__.startswith(libraries)


def _find_number(error: BaseException) -> int | None:
    import duckdb

    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        return errno.ENOMEM
    text = str(error)
    if found := _NUMBER.search(text):
        return int(found[1])
    lowered = text.lower()
    return next((number for words, number in _WORDS.items() if words in lowered), None)


def _find_path(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.filename is not None:
        # A copy names both files; what is full is where it goes to.
        is_target = error.filename2 is not None and error.errno not in (errno.EACCES, errno.EPERM)
        name = error.filename2 if is_target else error.filename
        return None if isinstance(name, int) else os.fsdecode(name)
    text = str(error)
    if quoted := _QUOTED_PATH.search(text):
        return quoted[1]
    paths = (path for path in _PATH.findall(text) if not path.endswith(_SOURCE_SUFFIX))
    return next(paths, None)


def _find_place(error: BaseException) -> str:
    """Returns where it was raised: in our own code if the error went through it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    frame = own[-1] if own else frames[-1]
    path = Path(frame.filename)
    name = path.relative_to(PACKAGE) if own else Path(*path.parts[-2:])
    return f" in {name}:{frame.lineno}"


def _join_lines(text: str) -> str:
    return " ".join(text.split())
